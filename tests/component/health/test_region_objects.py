"""Region objects from apply to status, with a fake API server and a scripted prober under fake loop time."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from regent.api.v1alpha1.convert_region import region_plan
from regent.domain.cluster_secrets import argo_cd_kubeconfig
from regent.domain.conditions import find
from regent.domain.errors import ForbiddenError, UnavailableError
from regent.engine.health import HealthTracker
from regent.engine.hub_identity import HubIdentity
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.reconcile import Workers
from regent.engine.region_clusters import ClusterChecks
from regent.engine.region_secrets import RegionSecrets
from regent.engine.region_setup import RegionSetup
from regent.engine.regions import RegionReconciler
from regent.engine.resources import FAILOVER_POLICIES, NAMESPACES, REGIONS, SECRETS
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeLeadership, FakeMetrics, FakeRecorder
from tests.fakes.prober import HANG, REFUSED, UP, Answer, FakeProber, FakeSignals, slow

pytestmark = pytest.mark.looptime

DAY = 86_400.0


class FakeMembers:
    """Member clusters by the text of their kubeconfig: a uid, or the error that comes."""

    def __init__(self) -> None:
        self.answers: dict[str, str | Exception] = {}
        self.forgotten: list[str] = []
        self.delay = 0.0

    async def identify(self, region: str, kubeconfig: str) -> str:
        await asyncio.sleep(self.delay)
        answer = self.answers[kubeconfig]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def forget(self, region: str) -> None:
        self.forgotten.append(region)


class World:
    """One replica's region parts and the API server that they talk to."""

    def __init__(self, *, leading: bool = True) -> None:
        self.cluster = FakeCluster()
        self.store = Store([REGIONS, FAILOVER_POLICIES])
        self.clock = LoopClock()
        self.metrics = FakeMetrics()
        self.recorder = FakeRecorder()
        self.prober = FakeProber()
        self.members = FakeMembers()
        chance = random.Random(3).random
        self.queue = KeyedQueue(jitter=chance)
        self.tracker = HealthTracker(
            prober=self.prober, clock=self.clock, chance=chance, signals=FakeSignals(), metrics=self.metrics
        )
        secrets = RegionSecrets(cluster=self.cluster, namespace="regent-system", allowed=["extra"])

        def changed(region: str) -> None:
            self.queue.add(Key(REGIONS, "", region), priority=Priority.LOW)

        self.checks = ClusterChecks(members=self.members, secrets=secrets, clock=self.clock, changed=changed)
        self.setup = RegionSetup(
            store=self.store,
            tracker=self.tracker,
            secrets=secrets,
            checks=self.checks,
            read_plan=region_plan,
            changed=changed,
            clock=self.clock,
            metrics=self.metrics,
            jitter=chance,
        )
        status = StatusWriter(self.cluster, self.store, FakeLeadership(), metrics=self.metrics)
        self.hub = HubIdentity(cluster=self.cluster, found=lambda: changed("eu"))
        self.regions = RegionReconciler(
            store=self.store,
            status=status,
            queue=self.queue,
            tracker=self.tracker,
            setup=self.setup,
            checks=self.checks,
            recorder=self.recorder,
            clock=self.clock,
            hub=lambda: self.hub.uid,
        )
        self.parts = [self.tracker.run, self.setup.run, self.checks.run, self.hub.run]
        if leading:
            workers = Workers(self.queue, {REGIONS: self.regions}, clock=self.clock, metrics=self.metrics, count=4)
            self.parts.append(workers.run)

    def status(self, name: str = "eu") -> dict[str, Any]:
        obj = self.store.get(REGIONS, "", name)
        assert obj is not None
        return obj.get("status") or {}

    def condition(self, kind: str, name: str = "eu") -> tuple[str, str, str]:
        found = find(self.status(name).get("conditions", ()), kind)
        return ("", "", "") if found is None else (found["status"], found["reason"], found["message"])

    def reasons(self) -> list[str]:
        return [reason for _, _, reason, _ in self.recorder.events]


@asynccontextmanager
async def running(*, leading: bool = True) -> AsyncIterator[World]:
    world = World(leading=leading)
    world.cluster.feed(world.store)
    tasks = [asyncio.create_task(part()) for part in world.parts]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.tracker.close()


def manifest(name: str = "eu", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {
            "endpoint": f"https://{name}.shop.example.com",
            "probes": [{"name": "web", "http": {"path": "/healthz"}}],
            **spec,
        },
    }


def tls_probe(**tls: Any) -> list[dict[str, Any]]:
    return [{"name": "web", "http": {"path": "/"}, "tls": tls}]


def secret(name: str, *, namespace: str = "regent-system", **data: str) -> dict[str, Any]:
    encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": name, "namespace": namespace}, "data": encoded}


async def until(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not condition():
        assert loop.time() < end, "condition did not come true"
        await asyncio.sleep(0.02)


async def healthy(world: World, name: str = "eu") -> None:
    await until(lambda: world.status(name).get("health") == "Healthy")


async def test_a_region_becomes_healthy_and_says_so() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest())
        await healthy(world)
        status = world.status()
        assert status["message"] == "1/1 vantages reach it"
        assert status["observedGeneration"] == 1
        assert status["primaryOf"] == 0
        assert [item["name"] for item in status["vantages"]] == ["operator"]
        assert world.condition("Ready")[:2] == ("True", "Reconciled")
        assert world.condition("Healthy")[:2] == ("True", "ProbesSucceed")
        assert world.condition("Reachable")[0] == "True"
        assert world.condition("ClusterConnected")[:2] == ("Unknown", "NotConfigured")
        await until(lambda: world.status().get("latencyMilliseconds") == 10, within=7)
        await until(lambda: world.status().get("errorRatePercent") == 0, within=130)


async def test_five_idle_minutes_of_a_hundred_regions_write_nothing() -> None:
    async with running() as world:
        dice = random.Random(5)
        # Latencies that cross the step of 10 ms all the time: the figures move, the status must not.
        world.prober.script = lambda _spec, _cold: slow(dice.uniform(0.008, 0.012))
        probe = {"name": "web", "http": {"path": "/healthz"}, "interval": "5s"}
        for number in range(100):
            world.cluster.put(REGIONS, manifest(f"r{number}", probes=[probe]))
        await asyncio.sleep(150)
        assert all(world.status(f"r{number}").get("latencyMilliseconds") for number in range(100))
        before = len(world.cluster.writes)
        await asyncio.sleep(300)
        assert len(world.cluster.writes) == before


async def test_an_outage_is_written_with_events_that_say_what_happens_next() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest(thresholds={"recoveryPeriod": "10s"}))
        world.cluster.put(
            FAILOVER_POLICIES,
            {"metadata": {"name": "shop", "namespace": "shop"}, "spec": {}, "status": {"activeRegion": "eu"}},
        )
        await healthy(world)
        await until(lambda: world.status()["primaryOf"] == 1)
        world.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: world.status()["health"] == "Unreachable")
        assert world.status()["message"] == "0/1 vantages reach it: web: connection refused"
        assert world.condition("Ready")[0] == "True", "an outage is nothing to fix in the spec"
        assert world.condition("Healthy")[:2] == ("False", "ProbesFail")
        assert world.condition("Reachable")[:2] == ("False", "Down")
        fallen = world.status()["lastTransitionTime"]
        world.prober.script = lambda _spec, _cold: UP
        await until(lambda: world.status()["health"] == "Recovering")
        assert world.status()["lastTransitionTime"] != fallen
        assert world.condition("Reachable")[0] == "True"
        await healthy(world)
        assert world.reasons() == ["RegionHealthy", "RegionUnreachable", "RegionRecovering", "RegionRecovered"]
        note = world.recorder.events[1][3]
        assert "connection refused" in note and "active in 1 failover polic" in note


async def test_one_outage_is_one_write_per_state() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest())
        await healthy(world)
        await asyncio.sleep(130)
        before = len(world.cluster.writes)
        world.prober.script = lambda _spec, _cold: HANG
        await until(lambda: world.status()["health"] == "Unreachable")
        await asyncio.sleep(120)
        assert len(world.cluster.writes) - before == 1


async def test_figures_are_rewritten_after_five_steady_minutes() -> None:
    async with running() as world:
        world.prober.script = lambda _spec, _cold: slow(0.009)
        world.cluster.put(REGIONS, manifest())
        await until(lambda: world.status().get("latencyMilliseconds") == 10, within=70)
        await asyncio.sleep(100)
        world.prober.script = lambda _spec, _cold: slow(0.045)
        changed = asyncio.get_running_loop().time()
        await until(lambda: world.status().get("latencyMilliseconds") == 50, within=600)
        assert 300 <= asyncio.get_running_loop().time() - changed <= 460


@pytest.mark.parametrize(
    ("reference", "objects", "reason", "words"),
    [
        ({"name": "ca"}, [], "SecretNotFound", "regent-system/ca"),
        ({"name": "ca", "namespace": "kube-system"}, [], "SecretNamespaceNotAllowed", "secretNamespaces"),
        ({"name": "ca"}, [secret("ca", other="x")], "SecretKeyNotFound", "ca.crt"),
        ({"name": "ca"}, [{"metadata": {"name": "ca", "namespace": "regent-system"}, "data": {"ca.crt": "!!"}}],
         "SecretInvalid", "ca.crt"),
    ],
)  # fmt: skip
async def test_a_secret_that_cannot_be_used_is_a_condition_and_never_an_outage(
    reference: dict[str, str], objects: list[dict[str, Any]], reason: str, words: str
) -> None:
    async with running() as world:
        for obj in objects:
            world.cluster.put(SECRETS, obj)
        world.cluster.put(REGIONS, manifest(probes=tls_probe(caSecretRef=reference)))
        await until(lambda: world.condition("Ready")[0] == "False")
        _, found, message = world.condition("Ready")
        assert found == reason and words in message
        await asyncio.sleep(30)
        assert world.status()["health"] == "Unknown"
        assert world.condition("Healthy")[0] == "Unknown"
        assert not world.prober.started
        assert world.tracker.first_round_done("eu"), "readiness does not wait for it"


async def test_a_forbidden_namespace_is_not_even_asked_for() -> None:
    async with running() as world:
        world.cluster.put(SECRETS, secret("ca", namespace="kube-system", ca_crt="secret"))
        reference = {"name": "ca", "namespace": "kube-system"}
        world.cluster.put(REGIONS, manifest(probes=tls_probe(caSecretRef=reference)))
        await until(lambda: world.condition("Ready")[0] == "False")
        assert not [call for call in world.cluster.calls if call[1] == SECRETS]


async def test_secrets_reach_the_probe_and_are_read_again() -> None:
    async with running() as world:
        world.cluster.put(SECRETS, secret("ca", namespace="extra", ca_crt="PEM of the CA"))
        world.cluster.put(SECRETS, secret("client", tls_crt="certificate", tls_key="key"))
        tls = {"caSecretRef": {"name": "ca", "namespace": "extra"}, "clientCertificateSecretRef": {"name": "client"}}
        world.cluster.put(REGIONS, manifest(probes=tls_probe(**tls)))
        await healthy(world)
        opened = world.prober.opened[-1].tls
        assert opened is not None
        assert (opened.ca_pem, opened.client_certificate_pem, opened.client_key_pem) == (
            "PEM of the CA",
            "certificate",
            "key",
        )
        assert "key" not in repr(opened).replace("_key", "")
        world.cluster.put(SECRETS, secret("client", tls_crt="renewed", tls_key="key"))
        await until(lambda: len(world.prober.opened) == 2, within=310)
        assert world.prober.opened[-1].tls is not None
        assert world.prober.opened[-1].tls.client_certificate_pem == "renewed"


async def test_a_missing_secret_that_appears_is_found_when_the_spec_is_touched_or_in_time() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest(probes=tls_probe(caSecretRef={"name": "ca"})))
        await until(lambda: world.condition("Ready")[1] == "SecretNotFound")
        world.cluster.put(SECRETS, secret("ca", ca_crt="PEM"))
        await until(lambda: world.condition("Ready")[0] == "True", within=320)
        await healthy(world)


async def test_an_api_server_that_is_away_delays_the_setup_and_changes_nothing() -> None:
    async with running() as world:
        world.cluster.put(SECRETS, secret("ca", ca_crt="PEM"))
        world.cluster.fail("get", UnavailableError("away"), resource=SECRETS, times=5)
        world.cluster.put(REGIONS, manifest(probes=tls_probe(caSecretRef={"name": "ca"})))
        await healthy(world)


async def test_unusable_tls_material_is_a_condition() -> None:
    async with running() as world:
        world.prober.refuse_to_open = {"web": "the CA bundle holds no usable PEM certificate"}
        world.cluster.put(REGIONS, manifest())
        await until(lambda: world.condition("Ready")[1] == "ProbeInvalid")
        assert "CA bundle" in world.condition("Ready")[2]


async def test_a_spec_of_an_older_schema_is_a_condition() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest(probes=[{"name": "web", "http": {}, "interval": "sometimes"}]))
        await until(lambda: world.condition("Ready")[1] == "InvalidSpec")
        assert "sometimes" in world.condition("Ready")[2]


KUBECONFIG = {"kubeconfigSecretRef": {"name": "eu"}}


@pytest.mark.parametrize(
    ("answer", "uid", "condition", "ready"),
    [
        ("uid-1", "", ("True", "Connected"), "True"),
        ("uid-1", "uid-1", ("True", "Connected"), "True"),
        ("uid-1", "uid-2", ("False", "UidMismatch"), "False"),
        (ValueError("exec is not allowed"), "", ("False", "KubeconfigRefused"), "False"),
        (UnavailableError("away"), "", ("False", "Unreachable"), "True"),
        (ForbiddenError("no"), "", ("False", "Forbidden"), "True"),
    ],
)
async def test_member_clusters(answer: str | Exception, uid: str, condition: tuple[str, str], ready: str) -> None:
    async with running() as world:
        world.members.answers["SENSITIVE"] = answer
        world.cluster.put(SECRETS, secret("eu", kubeconfig="SENSITIVE"))
        world.cluster.put(REGIONS, manifest(cluster={**KUBECONFIG, "uid": uid}))
        await until(lambda: world.condition("ClusterConnected")[:2] == condition)
        assert world.condition("Ready")[0] == ready
        await healthy(world)
        writes = len(world.cluster.writes)
        await asyncio.sleep(50)
        assert "SENSITIVE" not in str(world.status())
        # Only the first figures may have come since.
        assert len(world.cluster.writes) - writes <= 2


KUBE_SYSTEM = {"metadata": {"name": "kube-system", "uid": "the-hub"}}
INSIDE = ("True", "SameCluster")


@pytest.mark.parametrize(
    ("answer", "uid", "inside"),
    [
        ("the-hub", "", True),
        (UnavailableError("timeout"), "the-hub", True),  # the region is down, and the spec tells which cluster it is
        ("another", "", False),
        ("another", "the-hub", False),  # its kubeconfig leads elsewhere: that is what has to be put right first
    ],
)
async def test_a_hub_inside_a_region_is_told(
    answer: str | Exception, uid: str, caplog: pytest.LogCaptureFixture, *, inside: bool
) -> None:
    async with running() as world:
        world.cluster.fail("get", UnavailableError("away"), resource=NAMESPACES)
        world.cluster.put(NAMESPACES, KUBE_SYSTEM)
        world.members.answers["k"] = answer
        world.cluster.put(SECRETS, secret("eu", kubeconfig="k"))
        world.cluster.put(REGIONS, manifest(cluster={**KUBECONFIG, "uid": uid}))
        await until(lambda: world.hub.uid == "the-hub", within=40)
        await asyncio.sleep(3)
        assert (world.condition("HubInsideRegion")[:2] == INSIDE) is inside
        assert world.condition("Ready")[1] in ("Reconciled", "UidMismatch")
        said = [record for record in caplog.records if "The hub lives inside region eu" in record.getMessage()]
        assert len(said) == int(inside), "once in each process"
        world.cluster.put(REGIONS, manifest())
        await until(lambda: world.condition("HubInsideRegion") == ("", "", ""), within=70)


async def test_a_hub_that_may_not_be_asked_is_never_found_inside() -> None:
    async with running() as world:
        world.cluster.fail("get", ForbiddenError("no", status=403), resource=NAMESPACES, times=99)
        world.members.answers["k"] = ""
        world.cluster.put(SECRETS, secret("eu", kubeconfig="k"))
        world.cluster.put(REGIONS, manifest(cluster=KUBECONFIG))
        await healthy(world)
        assert world.condition("HubInsideRegion") == ("", "", "")


async def test_a_member_cluster_that_hangs_delays_nothing() -> None:
    async with running() as world:
        world.members.answers["k"] = UnavailableError("timeout")
        world.members.delay = 1000
        world.cluster.put(SECRETS, secret("eu", kubeconfig="k"))
        world.cluster.put(REGIONS, manifest(cluster=KUBECONFIG))
        await healthy(world)
        world.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: world.status()["health"] == "Unreachable", within=3)


async def test_a_cluster_secret_of_argo_cd_is_connected_with_or_told_what_is_wrong_with_it() -> None:
    async with running() as world:
        config = '{"bearerToken": "t", "tlsClientConfig": {"insecure": true}}'
        world.cluster.put(SECRETS, secret("eu", server="https://192.0.2.1", config=config))
        world.cluster.put(REGIONS, manifest(cluster=KUBECONFIG))
        await until(lambda: world.condition("ClusterConnected")[1] == "KubeconfigRefused")
        assert "write the certificate authority into tlsClientConfig.caData" in world.condition("Ready")[2]
        config = '{"bearerToken": "t"}'
        world.members.answers[argo_cd_kubeconfig(server="https://192.0.2.1", config=config)] = "some-uid"
        world.cluster.put(SECRETS, secret("eu", server="https://192.0.2.1", config=config))
        await until(lambda: world.condition("ClusterConnected")[1] == "Connected", within=70)
        assert "some-uid" in world.condition("ClusterConnected")[2]


async def test_a_missing_kubeconfig_makes_the_region_not_ready_but_it_is_probed() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest(cluster=KUBECONFIG))
        await until(lambda: world.condition("Ready")[1] == "SecretNotFound")
        await healthy(world)


async def test_a_certificate_that_ends_soon_is_a_condition_that_goes_away() -> None:
    async with running() as world:
        world.prober.script = lambda _spec, _cold: Answer(certificate_expiry_time=world.clock.wall() + 13 * DAY)
        world.cluster.put(REGIONS, manifest())
        await until(lambda: world.condition("CertificateExpiring")[0] == "True", within=70)
        metric = "regent_region_certificate_expiry_time_seconds"
        await until(lambda: any(name == metric for name, _ in world.metrics.gauges))
        world.prober.script = lambda _spec, _cold: Answer(certificate_expiry_time=world.clock.wall() + 90 * DAY)
        await until(lambda: world.condition("CertificateExpiring") == ("", "", ""), within=70)


async def test_a_threshold_that_cannot_be_reached_is_a_condition() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest(thresholds={"degraded": {"latency": "3s"}}))
        await until(lambda: world.condition("ThresholdUnreachable")[0] == "True")
        assert "thresholds.degraded.latency" in world.condition("ThresholdUnreachable")[2]


async def test_disabled_drained_and_enabled_again() -> None:
    async with running() as world:
        world.cluster.put(REGIONS, manifest())
        await healthy(world)
        world.cluster.put(REGIONS, manifest(adminState="Disabled") | {"status": world.status()})
        await until(lambda: world.status()["health"] == "Unknown")
        assert world.condition("Healthy")[:2] == ("Unknown", "Disabled")
        assert world.condition("Ready")[:2] == ("True", "Disabled")
        assert world.status()["observedGeneration"] == 2
        probed = len(world.prober.started)
        await asyncio.sleep(10)
        assert len(world.prober.started) == probed
        world.cluster.put(REGIONS, manifest(adminState="Drained") | {"status": world.status()})
        await healthy(world)
        assert len(world.prober.started) > probed


async def test_a_deleted_region_is_forgotten_and_a_namesake_starts_anew() -> None:
    async with running() as world:
        put = world.cluster.put(REGIONS, manifest())
        await healthy(world)
        world.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: world.status()["health"] == "Unreachable")
        await world.cluster.delete(REGIONS, "", "eu", uid=put["metadata"]["uid"])
        await until(lambda: world.tracker.health("eu").reason == "NotProbedYet")
        await asyncio.sleep(1)
        probed = len(world.prober.started)
        await asyncio.sleep(5)
        assert len(world.prober.started) == probed
        world.prober.script = lambda _spec, _cold: UP
        world.cluster.put(REGIONS, manifest())
        await healthy(world)
        assert world.status()["observedGeneration"] == 1


async def test_primary_of_counts_policies_as_they_move_and_go() -> None:
    def policy(name: str, active: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "shop"}, "spec": {}, "status": {"activeRegion": active}}

    async with running() as world:
        for region in ("eu", "us"):
            world.cluster.put(REGIONS, manifest(region))
        shop = world.cluster.put(FAILOVER_POLICIES, policy("shop", "eu"))
        world.cluster.put(FAILOVER_POLICIES, policy("cart", "eu"))
        await until(lambda: world.status("eu").get("primaryOf") == 2)
        world.cluster.put(FAILOVER_POLICIES, policy("shop", "us"))
        await until(lambda: (world.status("eu")["primaryOf"], world.status("us")["primaryOf"]) == (1, 1))
        await world.cluster.delete(FAILOVER_POLICIES, "shop", "shop", uid=shop["metadata"]["uid"])
        await until(lambda: world.status("us")["primaryOf"] == 0)


async def test_a_standby_probes_and_writes_nothing() -> None:
    async with running(leading=False) as world:
        world.cluster.put(REGIONS, manifest())
        await asyncio.sleep(20)
        assert world.tracker.health("eu").proved_at is not None
        assert not world.cluster.writes
        assert not world.recorder.events


async def test_a_restart_during_the_recovery_period_goes_through_it_again() -> None:
    async with running() as world:
        world.cluster.put(
            REGIONS, manifest(thresholds={"recoveryPeriod": "20s"}) | {"status": {"health": "Recovering"}}
        )
        await asyncio.sleep(10)
        assert world.status()["health"] == "Recovering"
        await healthy(world)
