"""The HTTP step against a receiver that keeps the documented protocol: roles, fences, repeats, and bad answers."""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.signing import parse_keys
from regent.adapters.promotion import http
from regent.adapters.promotion.http import HttpStep
from regent.domain.errors import FencedOffError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.receivers import ReceiverSecrets
from regent.engine.resources import SECRETS
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics
from tests.fakes.promotion_receiver import EU, KEY, US, Database, answer
from tests.fakes.receiver import Message, Receiver, nobody
from tests.fakes.wire import response

SIGNING = "signing"
RUN = "shop/shop-8/uid-of-run"
POLICY = PolicySpec(namespace="shop", name="shop", uid="uid-1", regions=(PolicyRegion(name=EU), PolicyRegion(name=US)))


async def with_key() -> ReceiverSecrets:
    cluster = FakeCluster()
    data = {"key": base64.b64encode(KEY + b"\n").decode()}
    await cluster.create(
        SECRETS,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "signing"}, "data": data},
    )
    return ReceiverSecrets(cluster=cluster, parse=parse_keys, clock=SystemClock())


Make = Callable[..., HttpStep]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    client = GuardedClient(allow_loopback=True)
    egress = Egress(client, clock=SystemClock(), jitter=lambda: 0.0, metrics=FakeMetrics())
    secrets = await with_key()
    count = itertools.count()

    def step(url: str, *, timeout: float = 30.0, secret: str = SIGNING) -> HttpStep:
        settings = {"url": url, "secretRef": {"name": secret}}
        spec = PromotionStep(name="db", kind=StepKind.HTTP, timeout=timeout, settings=settings)
        return HttpStep(spec, POLICY, egress=egress, secrets=secrets, nonce=lambda: str(next(count)))

    yield step
    client.close()


async def test_a_role_goes_over_and_comes_back(make: Make) -> None:
    database = Database()
    async with Receiver(database) as receiver:
        driver: PromotionDriver = make(receiver.url)
        before = {region: await driver.observe(region) for region in (EU, US)}
        assert [state.role for state in before.values()] == [Role.ACTIVE, Role.STANDBY]
        assert (before[EU].position, before[EU].history) == (42, "3")
        await driver.demote(EU, successor=US, fence=Fence(8, 1, 8), run=RUN)
        await driver.promote(US, source=EU, fence=Fence(8, 1, 10), run=RUN)
        assert [(await driver.observe(region)).role for region in (EU, US)] == [Role.STANDBY, Role.ACTIVE]
        await driver.restore(US, before[US].snapshot, fence=Fence(8, 1, 11), run=RUN)
        await driver.restore(EU, before[EU].snapshot, fence=Fence(8, 1, 12), run=RUN)
        assert {region: await driver.observe(region) for region in (EU, US)} == before
        database.behind = 7
        sync = await driver.sync(EU, US)
        assert (sync.done, sync.behind) == (False, 7)
    bodies = [message.json for message in receiver.messages]
    assert bodies[2] == {
        "action": "demote", "policy": "shop/shop", "step": "db", "region": EU, "successor": US, "fence": "8.1.8",
        "run": RUN,
    }  # fmt: skip
    assert bodies[3]["source"] == EU
    assert bodies[6]["snapshot"] == {"role": "Standby", "snapshot": {"tier": "gold"}}
    assert (bodies[-1]["action"], bodies[-1]["source"], bodies[-1]["region"]) == ("sync", EU, US)


async def test_a_lost_answer_and_the_next_leader_promote_once(make: Make) -> None:
    database = Database()
    database.lose_answers = 2
    async with Receiver(database) as receiver:
        await make(receiver.url).promote(US, source=EU, fence=Fence(8, 1, 10), run=RUN)
        await make(receiver.url).promote(US, source=EU, fence=Fence(8, 2, 10), run=RUN)  # after a change of leader
        assert database.done == [("promote", US)]
        assert len(receiver.messages) == 4
        # A new attempt of the same run has a new epoch and is a new message: the region was demoted in between.
        await make(receiver.url).promote(US, source=EU, fence=Fence(9, 2, 10), run=RUN)
        assert database.done == [("promote", US)] * 2


async def test_an_old_leader_is_told_that_it_is_late(make: Make) -> None:
    database = Database()
    async with Receiver(database) as receiver:
        await make(receiver.url).promote(US, source=EU, fence=Fence(9, 1, 1), run=RUN)
        with pytest.raises(FencedOffError, match=r"9\.1\.1"):
            await make(receiver.url).demote(US, successor=EU, fence=Fence(8, 7, 7), run=RUN)
        assert database.roles[US] == "Active"


async def test_observing_never_gets_an_old_answer(make: Make) -> None:
    async with Receiver(Database()) as receiver:
        driver = make(receiver.url)
        await driver.observe(EU)
        await driver.observe(EU)
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 2


@pytest.mark.parametrize(
    "bad",
    [
        answer({"role": "Leader"}), answer({"role": "active"}), answer({}), answer([]), answer("Active"), response(b""),
        response(b"<html>"), answer({"role": "Active", "position": -1}), answer({"role": "Active", "lagSeconds": "1"}),
        answer({"role": "Active", "position": True}), response(b'{"role":"Active","lagSeconds":NaN}'),
        answer({"role": "Active", "message": "x" * 70_000}), answer({"role": "Active"}, "500 Oops"),
        answer({"role": "Active"}, "503 Busy"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_role_is_unknown(make: Make, bad: bytes) -> None:
    async with Receiver(lambda _: bad) as receiver:
        state = await make(receiver.url).observe(EU)
    assert state.role is Role.UNKNOWN
    assert state.message


async def test_a_receiver_that_is_away_is_unknown_and_unavailable(make: Make) -> None:
    with nobody() as url:
        driver = make(url, timeout=1.0)
        assert (await driver.observe(EU)).role is Role.UNKNOWN
        with pytest.raises(UnavailableError):
            await driver.promote(US, source=EU, fence=Fence(8), run=RUN)
        with pytest.raises(UnavailableError):
            await driver.sync(EU, US)


@pytest.mark.parametrize("status", ["400 Bad", "401 Who", "307 There", "409 No"])
async def test_a_refusal_is_a_problem_with_the_receivers_words(make: Make, status: str) -> None:
    async with Receiver(lambda _: answer({"message": "disk\nfull" + "x" * 999, "fence": "1.0.0"}, status)) as receiver:
        with pytest.raises(PromotionProblemError, match="disk full") as caught:
            await make(receiver.url).promote(US, source=EU, fence=Fence(8), run=RUN)
    assert caught.value.reason == "ReceiverRefused"
    assert len(str(caught.value)) < 600


async def test_overload_is_tried_again_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TRIES", 1)
    async with Receiver(lambda _: response(b"", status="429 Slow", headers="Retry-After: 7\r\n")) as receiver:
        with pytest.raises(UnavailableError) as caught:
            await make(receiver.url).promote(US, source=EU, fence=Fence(8), run=RUN)
    assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


async def test_a_missing_secret_is_a_problem_and_nothing_is_sent(make: Make) -> None:
    async with Receiver(Database()) as receiver:
        driver = make(receiver.url, secret="nope")
        for call in (driver.observe(EU), driver.promote(US, source=EU, fence=Fence(8), run=RUN)):
            with pytest.raises(PromotionProblemError, match="shop/nope does not exist") as caught:
                await call
            assert caught.value.reason == "SecretNotFound"
        assert receiver.connections == 0


async def test_a_simple_receiver_needs_neither_restore_nor_sync(make: Make) -> None:
    database = Database()

    def simple(message: Message) -> bytes:
        if message.json["action"] in ("restore", "sync"):
            return response(b"", status="501 Not Implemented")
        return database(message)

    async with Receiver(simple) as receiver:
        driver = make(receiver.url)
        before = (await driver.observe(US)).snapshot
        await driver.promote(US, source=EU, fence=Fence(8, 1, 10), run=RUN)
        await driver.restore(US, before, fence=Fence(8, 1, 11), run=RUN)
        assert database.roles[US] == "Standby"
        assert (await driver.sync(EU, US)).done
