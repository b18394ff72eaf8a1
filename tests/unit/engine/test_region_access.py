"""Access to the regions' clusters: the hub or a proved member, never another; what is kept, and when it is closed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError, PromotionProblemError, UnavailableError
from regent.domain.health.plan import ClusterReference, SecretReference
from regent.engine import region_access
from regent.engine.ports import Object
from regent.engine.region_access import PROOF, SILENCE, RegionAccess
from regent.engine.region_secrets import RegionSecrets
from regent.engine.resources import REGIONS, SECRETS
from regent.engine.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster

EU, UID = "eu-west-1", "11111111-1111-1111-1111-111111111111"


class FakeClients:
    """Member clusters whose kubeconfig is their uid."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.open: set[str] = set()
        self.error: Exception | None = None
        self.answer: Callable[[], Any] | None = None

    async def identify(self, region: str, kubeconfig: str) -> str:
        self.log.append(f"identify {region}")
        self.open.add(region)
        if self.answer is not None:
            await self.answer()
        if self.error is not None:
            raise self.error
        return kubeconfig

    async def client(self, region: str, kubeconfig: str, *, account: str = "") -> FakeCluster:
        self.log.append(f"client {region} {kubeconfig} {account}".strip())
        return FakeCluster()

    def subscribe(self, listener: Callable[[str, bool], None]) -> None:
        self.heard = listener

    async def forget(self, region: str) -> None:
        self.log.append(f"forget {region}")
        self.open.discard(region)


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = FakeCluster()
        self.hub_accounts: list[str] = []
        self.members = FakeClients()
        self.store = Store([REGIONS])
        self.hub.feed(self.store)
        self.access = RegionAccess(
            store=self.store,
            read_reference=reference,
            secrets=RegionSecrets(cluster=self.hub, namespace="regent-system", allowed=()),
            members=self.members,
            hub=self._hub,
            clock=self.clock,
        )

    def _hub(self, account: str) -> FakeCluster:
        self.hub_accounts.append(account)
        return self.hub

    def region(self, cluster: dict[str, str] | None, name: str = EU) -> None:
        self.hub.put(REGIONS, {"metadata": {"name": name}, "spec": {"cluster": cluster} if cluster else {}})

    def secret(self, kubeconfig: str = UID, name: str = "eu") -> None:
        data = {"kubeconfig": base64.b64encode(kubeconfig.encode()).decode()}
        self.hub.put(SECRETS, {"metadata": {"namespace": "regent-system", "name": name}, "data": data})


def reference(region: Object) -> ClusterReference | None:
    cluster = region["spec"].get("cluster")
    if cluster is None:
        return None
    if "secret" not in cluster:
        raise ValueError("unreadable")
    return ClusterReference(
        kubeconfig=SecretReference(name=cluster["secret"], key="kubeconfig"), uid=cluster.get("uid", "")
    )


async def problem(bench: Bench) -> str:
    with pytest.raises(PromotionProblemError) as caught:
        await bench.access.cluster(EU)
    return caught.value.reason


async def test_without_a_member_cluster_it_is_the_hub() -> None:
    bench = Bench()
    bench.region(None)
    assert await bench.access.cluster(EU) is bench.hub
    await bench.access.cluster(EU, account="shop:failover")
    assert bench.hub_accounts == ["", "shop:failover"]
    assert not bench.members.log


async def test_a_member_is_proved_before_it_is_used_and_then_kept() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    await bench.access.cluster(EU)
    await bench.access.cluster(EU, account="shop:failover")
    client = f"client {EU} {UID}"
    assert bench.members.log == [f"identify {EU}", client, f"{client} shop:failover"]
    assert [call for call in bench.hub.calls if call[1] == SECRETS] == [("get", SECRETS, "regent-system", "eu")]


def encoded(**values: str) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


async def test_cluster_secrets_of_other_tools_are_understood() -> None:
    """Fails when a Secret of Cluster API or of Argo CD is not read by its own convention, or one that lacks what it
    needs, or says what is refused, is used or not explained."""
    bench = Bench()
    bench.region({"secret": "eu"})
    metadata = {"namespace": "regent-system", "name": "eu"}
    capi = {"metadata": metadata, "type": "cluster.x-k8s.io/secret"}
    bench.hub.put(SECRETS, {**capi, "data": encoded(value=UID)})
    await bench.access.cluster(EU)
    assert bench.members.log[-1] == f"client {EU} {UID}"

    labelled = {"metadata": {**metadata, "labels": {"argocd.argoproj.io/secret-type": "cluster"}}}
    config = '{"bearerToken": "t"}'
    bench.hub.put(SECRETS, {**labelled, "data": encoded(name="eu", server="https://192.0.2.1", config=config)})
    bench.clock.advance(PROOF)
    await bench.access.cluster(EU)
    assert json.loads(bench.members.log[-1].removeprefix(f"client {EU} "))["users"][0]["user"] == {"token": "t"}

    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({**capi, "data": encoded(**{"tls.crt": "c"})}, "SecretKeyNotFound", "<cluster>-kubeconfig"),
        ({**labelled, "data": encoded(name="eu", server="https://192.0.2.1")}, "SecretKeyNotFound", "no key config"),
        (
            {
                **labelled,
                "data": encoded(server="https://192.0.2.1", config='{"execProviderConfig": {"command": "a"}}'),
            },
            "KubeconfigRefused",
            "config.execProviderConfig runs a program",
        ),
    ]
    for secret, reason, said in wrong:
        bench.hub.put(SECRETS, secret)
        bench.clock.advance(PROOF)
        with pytest.raises(PromotionProblemError, match=said) as caught:
            await bench.access.cluster(EU)
        assert caught.value.reason == reason


async def test_the_proof_is_asked_for_again_after_a_while() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    await bench.access.cluster(EU)
    bench.secret("22222222-2222-2222-2222-222222222222")
    bench.clock.advance(PROOF)
    assert await problem(bench) == "UidMismatch"


async def test_another_cluster_is_never_used() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": "another"})
    bench.secret()
    for _ in range(2):
        assert await problem(bench) == "UidMismatch"
    assert not [entry for entry in bench.members.log if entry.startswith("client")]


async def test_a_region_that_nobody_knows_is_not_the_hub() -> None:
    bench = Bench()
    assert await problem(bench) == "RegionNotFound"
    bench.region({"nonsense": "x"})
    assert await problem(bench) == "RegionInvalid"
    assert not bench.hub_accounts


async def test_what_is_wrong_with_the_secret_is_said() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    assert await problem(bench) == "SecretNotFound"
    bench.secret()
    bench.members.error = ValueError("exec is not allowed")
    assert await problem(bench) == "KubeconfigRefused"
    bench.members.error = ForbiddenError("no", status=403)
    assert await problem(bench) == "Forbidden"


async def test_a_member_that_does_not_answer_costs_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_access, "LIMIT", 0.05)
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    bench.members.answer = asyncio.Event().wait
    # Together, not one after the other: the second does not wait for the first to give up and then for itself.
    results = await asyncio.gather(*(bench.access.cluster(EU) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 3
    bench.members.answer = None
    bench.clock.advance(SILENCE)
    await bench.access.cluster(EU)


async def test_a_cluster_that_lets_a_request_time_out_is_left_alone_for_a_moment() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    await bench.access.cluster(EU)
    bench.members.heard(EU, False)
    before = list(bench.members.log)
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        await bench.access.cluster(EU)
    assert caught.value.retry_after == pytest.approx(SILENCE)
    assert bench.members.log == before, "it was not asked"
    bench.members.heard(EU, True)
    await bench.access.cluster(EU)
    bench.members.heard(EU, False)
    bench.clock.advance(SILENCE)
    await bench.access.cluster(EU)


async def test_calls_at_once_connect_once() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    await asyncio.gather(*(bench.access.cluster(EU) for _ in range(5)))
    assert bench.members.log.count(f"identify {EU}") == 1


async def test_connections_end_with_the_region_or_its_reference() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": UID})
    bench.secret()
    await bench.access.cluster(EU)
    bench.region({"secret": "eu", "uid": UID})  # an event that changes nothing about it
    await asyncio.sleep(0)
    assert bench.members.open == {EU}
    bench.region({"secret": "other", "uid": UID})
    await bench.access.close()
    assert not bench.members.open
    bench.secret(name="other")
    await bench.access.cluster(EU)
    region = bench.store.get(REGIONS, "", EU)
    assert region is not None
    bench.store.remove(REGIONS, region)
    await bench.access.close()
    assert not bench.members.open


async def test_a_connection_without_a_proof_ends_with_its_region_too() -> None:
    bench = Bench()
    bench.region({"secret": "eu", "uid": "another"})
    bench.secret()
    await problem(bench)
    assert bench.members.open == {EU}
    bench.region(None)
    await bench.access.close()
    assert not bench.members.open


async def test_which_regions_share_a_cluster() -> None:
    bench = Bench()
    bench.region(None, "h1")
    bench.region(None, "h2")
    for name, cluster in {
        "a": {"secret": "a", "uid": UID},
        "b": {"secret": "b", "uid": UID},
        "c": {"secret": "a"},
        "d": {"secret": "d"},
    }.items():
        bench.region(cluster, name)
    shared = bench.access.shared
    assert shared("h1", "h2")
    assert shared("a", "b"), "two kubeconfigs of one cluster"
    assert shared("a", "c"), "one kubeconfig"
    assert not shared("a", "d")
    assert not shared("h1", "a")
    assert not shared("h1", "nobody")
