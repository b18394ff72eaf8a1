"""Requests to something that is, or is not, Patroni: over real connections on loopback."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping

import pytest

from regent.adapters.promotion.patroni import PatroniDriver, patroni_steps
from regent.adapters.promotion.patroni_api import Clients, PatroniApi
from regent.domain.errors import ConflictError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.domain.failover.roles import Role
from tests.fakes.certificates import Authority
from tests.fakes.clock import FakeClock
from tests.fakes.wire import Peer, WireServer, response, server_context

PRIMARY = {"state": "running", "role": "primary", "xlog": {"location": 7}, "timeline": 1, "patroni": {"name": "eu-0"}}
CLUSTER = {"members": [{"role": "leader", "host": "10.77.0.9", "port": 5432}]}


class Speaker:
    """Answers each path with its body and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = answers
        self.heard: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        async for request in peer.requests():
            length = re.search(rb"(?i)content-length: *(\d+)", request)
            self.heard.append(request + await peer.reader.readexactly(int(length[1]) if length else 0))
            method, path = request.split(b" ", 2)[:2]
            await peer.send(self.answers.get(f"{method.decode()} {path.decode()}", response(status="404 Not Found")))


def as_json(content: object, *, status: str = "200 OK") -> bytes:
    return response(json.dumps(content).encode(), status=status)


LOOKS = {"GET /health": as_json(PRIMARY), "GET /config": as_json({"ttl": 20}), "GET /cluster": as_json(CLUSTER)}


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients(allow_loopback=True)
    yield made
    made.close()


class Shelf:
    """Secrets."""

    def __init__(self, **entries: Mapping[str, bytes]) -> None:
        self._entries = entries

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        assert namespace == "shop"
        return self._entries[name]


def driver(clients: Clients, url: str, *, secrets: Shelf | None = None, **settings: object) -> PatroniDriver:
    clusters = [{"region": "eu", "url": url}, {"region": "us", "url": url}]
    step = PromotionStep(name="db", kind=StepKind.PATRONI, settings={"clusters": clusters, **settings})
    make = patroni_steps(clients=clients, secrets=secrets or Shelf(), clock=FakeClock())[StepKind.PATRONI]
    made = make(PolicySpec(namespace="shop", name="shop", uid="u"), step)
    assert isinstance(made, PatroniDriver)
    return made


async def test_a_look_sends_no_password_and_a_change_does(clients: Clients) -> None:
    speaker = Speaker({**LOOKS, "PATCH /config": as_json({})})
    secrets = Shelf(login={"username": b"regent", "password": b"hush"})
    async with WireServer(speaker) as server:
        url = f"http://127.0.0.1:{server.port}"
        clusters = [{"region": "eu", "url": url}, {"region": "us", "url": "http://127.0.0.1:1", "host": "10.77.0.9"}]
        step = driver(clients, url, secrets=secrets, clusters=clusters, credentialsSecretRef={"name": "login"})
        await step.observe("eu")
        assert not any(b"authorization" in heard.lower() for heard in speaker.heard)
        await step.demote("eu", successor="us", fence=Fence(7, 1, 2), run="shop/shop-1/u")
    [change] = [heard for heard in speaker.heard if heard.startswith(b"PATCH")]
    assert b"Basic " + base64.b64encode(b"regent:hush") in change
    body = json.loads(change.partition(b"\r\n\r\n")[2])
    assert body == {"standby_cluster": {"host": "10.77.0.9", "port": 5432}, "regent": {"fence": "7.1.2"}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (as_json({}, status="401 Unauthorized"), PromotionProblemError),
        (as_json({}, status="403 Forbidden"), PromotionProblemError),
        (as_json({}, status="409 Conflict"), ConflictError),
        (as_json({}, status="503 Service Unavailable"), UnavailableError),
        (response(status="302 Found", headers="location: http://127.0.0.1:1/\r\n"), UnavailableError),
    ],
)
async def test_refused_changes_become_the_errors_of_the_port(
    clients: Clients, answer: bytes, error: type[Exception]
) -> None:
    async with WireServer(Speaker({"PATCH /config": answer})) as server:
        api = PatroniApi("eu", f"http://127.0.0.1:{server.port}", client=clients.client(), authorization="Basic eA==")
        with pytest.raises(error) as raised:
            await api.configure({"standby_cluster": None})
    assert "eA==" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        response(b"hello"),
        response(b"[" * 60_000),
        response(b'{"state": "running", "x": "' + b"x" * 70_000 + b'"}'),
        as_json([PRIMARY]),
        as_json({}, status="500 Internal Server Error"),
        response(status="302 Found", headers="location: http://127.0.0.1:1/\r\n"),
    ],
)
async def test_what_is_not_patroni_is_unknown(clients: Clients, answer: bytes) -> None:
    async with WireServer(Speaker({**LOOKS, "GET /health": answer})) as server:
        state = await driver(clients, f"http://127.0.0.1:{server.port}").observe("eu")
    assert state.role is Role.UNKNOWN
    assert len(state.message) < 500


async def test_postgresql_that_does_not_run_is_told_with_503_and_still_read(clients: Clients) -> None:
    down = as_json({"state": "stopped", "role": "demoted"}, status="503 Service Unavailable")
    config = as_json({"standby_cluster": {"host": "10.77.0.2"}})
    async with WireServer(Speaker({"GET /health": down, "GET /config": config})) as server:
        state = await driver(clients, f"http://127.0.0.1:{server.port}").observe("eu")
    assert state.role is Role.STANDBY
    assert state.lag is None and state.position is None


async def test_a_private_authority_is_trusted_where_it_is_named_and_nowhere_else(clients: Clients) -> None:
    authority = Authority()
    tls = server_context(authority.issue("127.0.0.1"))
    secrets = Shelf(ca={"ca.crt": authority.pem.encode()}, other={"ca.crt": Authority("another").pem.encode()})
    async with WireServer(Speaker(LOOKS), tls=tls) as server:
        url = f"https://127.0.0.1:{server.port}"
        trusted = await driver(clients, url, secrets=secrets, caSecretRef={"name": "ca"}).observe("eu")
        unnamed = await driver(clients, url, secrets=secrets).observe("eu")
        foreign = await driver(clients, url, secrets=secrets, caSecretRef={"name": "other"}).observe("eu")
    assert (trusted.role, unnamed.role, foreign.role) == (Role.ACTIVE, Role.UNKNOWN, Role.UNKNOWN)


@pytest.mark.parametrize(("content", "reason"), [({}, "SecretKeyNotFound"), ({"ca.crt": b"x"}, "SecretInvalid")])
async def test_an_authority_that_is_none_is_told(clients: Clients, content: dict[str, bytes], reason: str) -> None:
    step = driver(clients, "https://127.0.0.1:1", secrets=Shelf(ca=content), caSecretRef={"name": "ca"})
    with pytest.raises(PromotionProblemError) as problem:
        await step.observe("eu")
    assert problem.value.reason == reason


async def test_a_region_that_is_not_listed_is_absent_and_cannot_be_changed(clients: Clients) -> None:
    step = driver(clients, "http://127.0.0.1:1")
    assert (await step.observe("ap")).role is Role.ABSENT
    with pytest.raises(PromotionProblemError, match="add it to"):
        await step.promote("ap", source="eu", fence=Fence(1), run="r")
