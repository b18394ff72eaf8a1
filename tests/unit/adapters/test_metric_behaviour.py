"""Every declared metric moves when what it is about happens, with exactly its declared labels."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from regent import __version__
from regent.adapters.egress.client import Answer as HttpAnswer
from regent.adapters.egress.egress import Egress
from regent.adapters.kopf.bridge import WatchBridge
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import Connection
from regent.adapters.kubernetes.events import EventRecorder
from regent.adapters.kubernetes.lease import LeaseElector
from regent.adapters.metrics import PrometheusMetrics
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.errors import ReceiverError, UnavailableError
from regent.domain.failover.options import HttpReceiver
from regent.domain.failover.roles import Role
from regent.domain.health.model import HealthSpec, ProbeSpec, TcpCheck
from regent.domain.times import rfc3339
from regent.engine.clock_check import ClockCheck
from regent.engine.health import HealthTracker
from regent.engine.metric_names import METRICS, Metric
from regent.engine.notifications import Notifier
from regent.engine.queue import Key, KeyedQueue
from regent.engine.reconcile import Workers
from regent.engine.resources import EVENTS, FAILOVER_POLICIES, HTTP_ROUTES, REGIONS, VOLUME_REPLICATIONS, Resource
from regent.engine.resync import Resync, Watched
from regent.engine.store import Store
from regent.server.operational import Heartbeat
from regent.settings import Settings
from regent.wiring import Operator
from tests.fakes.clock import FakeClock, LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.copying import CopyWorld
from tests.fakes.hubs import Hub
from tests.fakes.members import FakeMembers
from tests.fakes.ports import FakeLeadership, FakeMetrics, FakeRecorder
from tests.fakes.prober import Answer, FakeProber, FakeSignals
from tests.fakes.region import RegionScene
from tests.fakes.world import AP, EU, US, World, policy

pytestmark = pytest.mark.looptime

Read = Callable[..., float]
BEHAVIOURS: dict[str, Callable[[], Awaitable[Any]]] = {}


def moves(*names: str) -> Callable[[Callable[[], Awaitable[Any]]], Callable[[], Awaitable[Any]]]:
    def note(scenario: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        BEHAVIOURS.update(dict.fromkeys(names, scenario))
        return scenario

    return note


def value(metrics: FakeMetrics, name: str, **labels: str) -> float:
    """The value of one series: of a histogram the number of observations."""
    key = (name, frozenset(labels.items()))
    return metrics.counters.get(key, 0.0) + metrics.gauges.get(key, 0.0) + len(metrics.observed.get(key, ()))


@contextlib.asynccontextmanager
async def going(part: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(part)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@moves("regent_leader", "regent_lease_transitions", "regent_lease_renewals_total")
async def leading() -> FakeMetrics:
    metrics = FakeMetrics()
    part = LeaseElector(
        FakeCluster(), namespace="n", name="regent", identity="a", clock=LoopClock(), metrics=metrics,
        jitter=lambda: 0.0,
    )  # fmt: skip
    async with going(part.run()):
        await asyncio.wait_for(part.elected(), 5)
        await asyncio.sleep(3.5)
    assert value(metrics, "regent_leader") == 1
    assert value(metrics, "regent_lease_transitions") == 1
    assert value(metrics, "regent_lease_renewals_total", result="acquired") == 1
    assert value(metrics, "regent_lease_renewals_total", result="renewed") == 3
    return metrics


@moves("regent_resync_total", "regent_resync_repaired_total", "regent_resync_age_seconds", "regent_store_objects")
async def resyncing() -> FakeMetrics:
    metrics, cluster, store = FakeMetrics(), FakeCluster(), Store([REGIONS])
    part = Resync(cluster, store, clock=LoopClock(), metrics=metrics, watched=[Watched(REGIONS)], interval=60)
    async with going(part.run()):
        await asyncio.sleep(1)
        cluster.put(REGIONS, {"metadata": {"name": "eu"}, "spec": {}})
        await asyncio.sleep(61)
        assert value(metrics, "regent_resync_total", kind="Region", result="ok") == 2
        assert value(metrics, "regent_resync_repaired_total", kind="Region") == 1
        assert value(metrics, "regent_store_objects", kind="Region") == 1
        cluster.fail("list", UnavailableError("away"), resource=REGIONS, times=10_000)
        await asyncio.sleep(100)
    assert value(metrics, "regent_resync_total", kind="Region", result="error") > 1
    assert value(metrics, "regent_resync_age_seconds") > 60
    return metrics


@moves("regent_clock_offset_seconds")
async def comparing_clocks() -> FakeMetrics:
    metrics = FakeMetrics()
    async with going(ClockCheck(offset=lambda: 7.0, limit=2.0, metrics=metrics).run()):
        await asyncio.sleep(1)
    assert value(metrics, "regent_clock_offset_seconds") == 7.0
    return metrics


@moves("regent_reconcile_total", "regent_reconcile_duration_seconds")
async def visiting() -> FakeMetrics:
    class Visit:
        async def reconcile(self, key: Key) -> float | None:
            await asyncio.sleep(0.25)
            if key.name == "bad":
                raise UnavailableError("away")
            return None

    metrics, queue = FakeMetrics(), KeyedQueue(jitter=lambda: 0.0)
    for name in ("good", "bad"):
        queue.add(Key(REGIONS, "", name))
    async with going(Workers(queue, {REGIONS: Visit()}, clock=LoopClock(), metrics=metrics).run()):
        await asyncio.sleep(0.27)
    assert value(metrics, "regent_reconcile_total", kind="Region", result="ok") == 1
    assert value(metrics, "regent_reconcile_total", kind="Region", result="retry") == 1
    [seconds, _] = metrics.observed["regent_reconcile_duration_seconds", frozenset({("kind", "Region")})]
    assert seconds == pytest.approx(0.25, abs=0.01)
    return metrics


@moves("regent_events_total")
async def recording() -> FakeMetrics:
    metrics, cluster = FakeMetrics(), FakeCluster()
    part = EventRecorder(cluster, instance="pod", clock=FakeClock(), metrics=metrics)
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "uid": "u"}}
    async with going(part.run()):
        part.event(obj, kind="Normal", reason="Moved", action="Move", note="one")
        await part.drain(5)
        assert value(metrics, "regent_events_total", result="posted") == 1
        cluster.fail("create", UnavailableError("away"), resource=EVENTS)
        part.event(obj, kind="Normal", reason="Moved", action="Move", note="two")
        await part.drain(5)
    assert value(metrics, "regent_events_total", result="failed") == 1
    return metrics


@moves("regent_event_loop_lag_seconds")
async def lagging() -> FakeMetrics:
    class Late(LoopClock):
        def monotonic(self) -> float:
            return 2 * super().monotonic()  # as if each timer came as late again as it was due

    metrics = FakeMetrics()
    async with going(Heartbeat(clock=Late(), metrics=metrics).run()):  # type: ignore[arg-type]
        await asyncio.sleep(0.75)
    assert value(metrics, "regent_event_loop_lag_seconds") == pytest.approx(0.5, abs=0.05)
    return metrics


@moves("regent_watch_events_total", "regent_watch_restarts_total")
async def watching() -> FakeMetrics:
    class Flaky(WatchBridge):
        async def _session(self, served: Any) -> str:
            return "gone"

    metrics, store = FakeMetrics(), Store([REGIONS])
    watched = [Watched(REGIONS)]
    resync = Resync(FakeCluster(), store, clock=LoopClock(), metrics=FakeMetrics(), watched=watched)
    bridge = Flaky(nowhere(), store, resync, watched=watched, metrics=metrics)
    region = {"metadata": {"name": "eu", "uid": "u", "resourceVersion": "1"}}
    await bridge._handler(REGIONS)(event={"type": "ADDED", "object": region})
    assert value(metrics, "regent_watch_events_total", kind="Region") == 1
    async with going(resync.run()), going(bridge.run()):
        await asyncio.sleep(0.5)
    assert value(metrics, "regent_watch_restarts_total") == 1
    return metrics


def nowhere() -> Connection:
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    return Connection(configuration, source="test")


@moves("regent_api_requests_total", "regent_api_request_duration_seconds")
async def asking() -> FakeMetrics:
    metrics = FakeMetrics()
    cluster = KubernetesCluster(nowhere(), clock=LoopClock(), metrics=metrics, timeout=5.0, pool=2)
    try:
        with pytest.raises(UnavailableError):
            await cluster.get(REGIONS, "", "eu")
    finally:
        await cluster.close()
    assert value(metrics, "regent_api_requests_total", verb="get", kind="Region", code="0") == 1
    assert value(metrics, "regent_api_request_duration_seconds", verb="get") == 1
    return metrics


@moves(
    "regent_failovers_total", "regent_failover_duration_seconds", "regent_policy_epoch", "regent_policy_held",
    "regent_traffic_share_ratio", "regent_target_writes_total", "regent_status_writes_total",
)  # fmt: skip
async def failing_over() -> FakeMetrics:
    world, shop = World().furnish(), {"namespace": "shop", "policy": "shop"}
    await world.visit()
    metrics = world.metrics
    assert value(metrics, "regent_policy_epoch", **shop) == 1
    assert value(metrics, "regent_traffic_share_ratio", region=EU, **shop) == 1
    world.tracker.down(EU)
    await world.visit()
    assert value(metrics, "regent_policy_epoch", **shop) == 2
    assert value(metrics, "regent_traffic_share_ratio", region=EU, **shop) == 0
    assert value(metrics, "regent_traffic_share_ratio", region=US, **shop) == 1
    assert value(metrics, "regent_failovers_total", trigger="Unreachable", result="Succeeded", **shop) == 1
    assert value(metrics, "regent_failover_duration_seconds", trigger="Unreachable") == 1
    assert value(metrics, "regent_target_writes_total", target="HTTPRoute", result="written", **shop) >= 1
    assert value(metrics, "regent_status_writes_total", kind="FailoverPolicy", result="written") >= 2
    assert not [key for key in metrics.gauges if key[0] == "regent_policy_held"]
    for name in list(world.tracker.regions):
        world.tracker.down(name)
    await world.visit()
    assert value(metrics, "regent_policy_held", reason="AllRegionsDown", **shop) == 1
    world.tracker.up(US)
    suspended = {**policy(suspend=True), "status": world.status()}
    world.cluster.put(FAILOVER_POLICIES, suspended)
    world.tracker.down(US)
    await world.visit()
    assert value(metrics, "regent_policy_held", reason="AllRegionsDown", **shop) == 0
    assert value(metrics, "regent_policy_held", reason="Suspended", **shop) == 1
    assert world.store.get(HTTP_ROUTES, "shop", "shop")
    return metrics


@moves("regent_policy_suspended", "regent_policy_budget_spent", "regent_policy_split_brain")
async def standing_still() -> FakeMetrics:
    shop = {"namespace": "shop", "policy": "shop"}
    clusters = [{"region": name, "url": f"https://{name}.example.com"} for name in (EU, US, AP)]
    promotion = {"steps": [{"name": "db", "type": "Patroni", "patroni": {"clusters": clusters}}]}
    safety = {"budget": {"failovers": 1, "per": "6h"}, "fencing": "None"}
    world = World().furnish(promotion=promotion, safety=safety)
    world.steps.set("db", **{EU: Role.ACTIVE, US: Role.STANDBY, AP: Role.STANDBY})
    await world.visit()
    metrics = world.metrics
    names = ("regent_policy_suspended", "regent_policy_budget_spent", "regent_policy_split_brain")
    assert [value(metrics, name, **shop) for name in names] == [0, 0, 0]
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=40)
    assert value(metrics, "regent_policy_budget_spent", **shop) == 1
    # The lost side comes back, still believes that it is the primary, and has written.
    world.steps.away.discard(EU)
    world.steps.diverged[EU] = "2 rows"
    suspended = policy(promotion=promotion, safety=safety, suspend=True)
    world.cluster.put(FAILOVER_POLICIES, {**suspended, "status": world.status()})
    await world.visit()
    assert [value(metrics, name, **shop) for name in names] == [1, 1, 1]
    world.steps.set("db", **{EU: Role.STANDBY})
    world.steps.diverged.clear()
    world.cluster.put(FAILOVER_POLICIES, {**policy(promotion=promotion, safety=safety), "status": world.status()})
    world.clock.advance(6 * 3600 + 60)
    world.tracker.fresh()
    await world.visit()
    assert [value(metrics, name, **shop) for name in names] == [0, 0, 0]
    return metrics


@moves("regent_receiver_requests_total")
async def posting() -> FakeMetrics:
    class Endpoint:
        """What a receiver answers, without a network: real time would pass on a socket."""

        def __init__(self) -> None:
            self.outcomes: list[HttpAnswer | Exception] = [
                HttpAnswer(status=204), ReceiverError("ConnectFailed", "nobody is there", retryable=False)
            ]  # fmt: skip

        async def request(self, *_: Any, **__: Any) -> HttpAnswer:
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    metrics = FakeMetrics()
    egress = Egress(Endpoint(), clock=LoopClock(), jitter=lambda: 0.0, metrics=metrics)  # type: ignore[arg-type]
    await egress.post("http://a.test/", {}, purpose="hook", idempotency_key="msg_1", timeout=1)
    assert value(metrics, "regent_receiver_requests_total", purpose="hook", result="2xx") == 1
    with pytest.raises(ReceiverError):
        await egress.post("http://a.test/", {}, purpose="target", idempotency_key="msg_2", timeout=1)
    assert value(metrics, "regent_receiver_requests_total", purpose="target", result="ConnectFailed") == 1
    return metrics


class Post:
    """Takes or refuses what is sent."""

    def __init__(self) -> None:
        self.refusing = False

    async def send(self, _namespace: str, _receiver: HttpReceiver, _event: Any) -> None:
        if self.refusing:
            raise ReceiverError("Refused", "not here", retryable=False)


TELLING = {"notifications": [{"url": "https://tell.example.com"}]}


async def failed_over() -> World:
    """A world in which a run has been made that receivers are told of."""
    world = World().furnish(**TELLING)
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    return world


@moves("regent_notifications_total")
async def notifying() -> FakeMetrics:
    world, post, metrics = await failed_over(), Post(), FakeMetrics()
    told = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert told is not None
    spec, _ = policy_spec(told)
    for result in ("sent", "lost"):
        post.refusing = result == "lost"
        notifier = Notifier(
            post, leadership=FakeLeadership(), clock=world.clock, jitter=lambda: 0.0, recorder=FakeRecorder(),
            metrics=metrics,
        )  # fmt: skip
        notifier.announce(told, spec, world.runs())
        waiting = notifier.waiting
        assert waiting == 2
        async with going(notifier.run()):
            await asyncio.sleep(1)
        assert notifier.waiting == 0
        assert value(metrics, "regent_notifications_total", namespace="shop", policy="shop", result=result) == waiting
    return metrics


@moves(
    "regent_region_health", "regent_probe_duration_seconds", "regent_probe_results_total",
    "regent_region_certificate_expiry_time_seconds", "regent_observer_score",
)  # fmt: skip
async def probing() -> FakeMetrics:
    metrics, prober, signals = FakeMetrics(), FakeProber(), FakeSignals()
    prober.script = lambda _spec, _cold: Answer(certificate_expiry_time=1_800_000_000.0)
    part = HealthTracker(
        prober=prober, clock=LoopClock(), chance=lambda: 0.5, signals=signals, metrics=metrics
    )  # fmt: skip
    probe = ProbeSpec(region="eu", name="web", host="192.0.2.1", port=80, check=TcpCheck())
    async with going(part.run()):
        part.configure(HealthSpec(region="eu", probes=(probe,)))
        await asyncio.sleep(8)
        assert value(metrics, "regent_region_health", region="eu", health="Healthy") == 1
        assert value(metrics, "regent_region_health", region="eu", health="Unreachable") == 0
        assert value(metrics, "regent_probe_duration_seconds", region="eu") >= 5
        assert value(metrics, "regent_probe_results_total", region="eu", probe="web", outcome="Success") >= 3
        assert value(metrics, "regent_region_certificate_expiry_time_seconds", region="eu") == 1_800_000_000
        signals.route = False
        await asyncio.sleep(8)
    await part.close()
    assert value(metrics, "regent_observer_score") > 0
    return metrics


async def exposed(metrics: PrometheusMetrics) -> str:
    # Not `render`: a thread takes real time, of which fake loop time knows nothing.
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry).decode()


@moves("regent_build_info")
async def building() -> None:
    assert f'regent_build_info{{version="{__version__}"}} 1.0' in await exposed(PrometheusMetrics())


@contextlib.asynccontextmanager
async def operator_at_rest() -> AsyncIterator[Operator]:
    """The operator with all its parts, none of which runs."""
    settings = Settings.model_validate({"leaderElection": {"enabled": False}})
    operator = Operator(settings, nowhere())
    try:
        yield operator
    finally:
        for cluster in operator._clusters:
            await cluster.close()
        await operator._failover.close()
        await operator._members.close()
        await operator._probes.close()


@moves("regent_hub_role", "regent_hub_heard_age_seconds", "regent_hub_copies_total")
async def following_a_hub() -> FakeMetrics:
    active = Hub("active", FakeMembers())
    active.put_shop()
    standby = Hub("standby", FakeMembers(), follows=active)
    async with standby.running():
        await asyncio.sleep(3.5)
    metrics = standby.metrics
    assert value(metrics, "regent_hub_role", role="Standby") == 1
    assert value(metrics, "regent_hub_copies_total", kind="Region", result="ok") == 2
    assert metrics.gauges["regent_hub_heard_age_seconds", frozenset()] < 3
    return metrics


@moves("regent_queue_depth")
async def queueing() -> None:
    async with operator_at_rest() as operator:
        operator._before_scrape()
        assert "regent_queue_depth 0.0" in await exposed(operator._metrics)
        operator._region_changed("eu")
        operator._before_scrape()
        assert "regent_queue_depth 1.0" in await exposed(operator._metrics)


@moves("regent_notifications_waiting")
async def having_to_tell() -> None:
    world = await failed_over()
    told = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert told is not None
    spec, _ = policy_spec(told)
    for run in world.runs():
        # The operator's own clock decides what is recent.
        run["status"]["completionTime"] = rfc3339(time.time())
        for step in run["status"]["steps"]:
            step["completionTime"] = rfc3339(time.time())
        async with operator_at_rest() as operator:
            operator._before_scrape()
            assert "regent_notifications_waiting 0.0" in await exposed(operator._metrics)
            operator._role.guard._acting.set()  # only a hub that acts tells anybody
            operator._failover._notifier.announce(told, spec, [run])
            operator._before_scrape()
            assert "regent_notifications_waiting 2.0" in await exposed(operator._metrics)


@moves(
    "regent_replication_lag_seconds",
    "regent_replication_verification_age_seconds",
    "regent_replication_in_sync",
    "regent_replication_objects",
    "regent_replication_writes_total",
    "regent_replication_transferred_objects_total",
    "regent_replication_transferred_bytes_total",
    "regent_replication_lists_total",
    "regent_replication_watch_restarts_total",
)
async def replicating() -> FakeMetrics:
    world = CopyWorld()
    world.put("eu", "settings", color="red")
    world.policy()
    where = {"namespace": "shop", "policy": "shop", "region": "us"}
    pair = {"namespace": "shop", "policy": "shop", "source": "eu", "target": "us"}
    async with world.running():
        await asyncio.sleep(5)
        metrics = world.metrics
        assert value(metrics, "regent_replication_in_sync", **where) == 1
        assert value(metrics, "regent_replication_objects", state="desired", **where) == 1
        assert value(metrics, "regent_replication_verification_age_seconds", **where) < 5
        assert metrics.counted("regent_replication_writes_total", result="written", **where) == 1
        assert metrics.counted("regent_replication_transferred_objects_total", **pair) == 1
        assert metrics.counted("regent_replication_transferred_bytes_total", **pair) > 100
        assert metrics.counted("regent_replication_lists_total", region="eu") == 1
        world.clusters["eu"].down = UnavailableError("no route", reason="NoConnection")
        world.clusters["eu"].break_watches(UnavailableError("no route", reason="NoConnection"))
        await asyncio.sleep(100)
        assert value(metrics, "regent_replication_in_sync", **where) == 0
        assert value(metrics, "regent_replication_lag_seconds", **where) > 60
        assert metrics.counted("regent_replication_watch_restarts_total", region="eu") > 1
    return world.metrics


@moves("regent_replication_storage_lag_seconds")
async def replicating_volumes() -> FakeMetrics:
    world = CopyWorld()
    for cluster in world.clusters.values():
        cluster.served.add(Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"))
    metadata, kind = {"namespace": "shop", "name": "data"}, VOLUME_REPLICATIONS
    status = {"lastSyncTime": rfc3339(world.clock.wall() - 60)}
    spec = {"replicationState": "primary"}
    head = {"apiVersion": kind.api_version, "kind": kind.kind}
    world.clusters["eu"].put(kind, {**head, "metadata": metadata, "spec": spec, "status": status})
    world.policy(resources=[{"category": "Storage"}])
    async with world.running():
        await asyncio.sleep(5)
        where = {"namespace": "shop", "policy": "shop", "region": "us"}
        assert 60 <= value(world.metrics, "regent_replication_storage_lag_seconds", **where) < 70
    return world.metrics


@moves("regent_agent_connected", "regent_agent_stopped")
async def guarding() -> FakeMetrics:
    scene = RegionScene()
    async with scene.running():
        await asyncio.sleep(3)
        assert value(scene.metrics, "regent_agent_connected") == 1
        assert value(scene.metrics, "regent_agent_stopped", namespace="shop", policy="shop") == 0
        scene.cut = True
        await asyncio.sleep(20)
        assert value(scene.metrics, "regent_agent_connected") == 0
        assert value(scene.metrics, "regent_agent_stopped", namespace="shop", policy="shop") == 1
    return scene.metrics


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
async def test_a_declared_metric_moves(metric: Metric) -> None:
    assert metric.name in BEHAVIOURS, "write down here what makes it move"
    metrics = await BEHAVIOURS[metric.name]()
    if metrics is not None:
        series = [key for part in (metrics.counters, metrics.gauges, metrics.observed) for key in part]
        labels = {tuple(sorted(dict(has))) for name, has in series if name == metric.name}
        assert labels == {tuple(sorted(metric.labels))}


def test_no_behaviour_is_of_a_metric_that_is_gone() -> None:
    assert set(BEHAVIOURS) == {metric.name for metric in METRICS}
