"""Turns Region objects into running probes, on every replica: a standby that probes is ready to take over.

It reads the Secrets that a Region names, configures the health tracker and starts the check of the member cluster. What
it found is kept for `engine.regions`, which writes the status on the leader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from regent.domain.health.model import Health, HealthSpec, ProbeRole, ProbeSpec
from regent.domain.health.plan import RegionPlan
from regent.domain.health.thresholds import unreachable_thresholds
from regent.engine.health import HealthTracker
from regent.engine.ports import Clock, Metrics, Object
from regent.engine.queue import Key, KeyedQueue
from regent.engine.reconcile import Workers
from regent.engine.region_clusters import ClusterChecks
from regent.engine.region_secrets import RegionSecrets, SetupProblemError
from regent.engine.resources import REGIONS
from regent.engine.store import Store

REREAD = 300.0
"""Seconds after which Secrets are read again: they are not watched, and certificates are renewed well in time."""

WORKERS = 4
"""Regions that are set up at once; only reading Secrets takes time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What came of a Region's spec."""

    uid: str
    generation: int
    plan: RegionPlan | None
    """None: the spec cannot be used at all."""
    problems: tuple[tuple[str, str], ...] = ()
    """(reason, message) of everything that somebody has to put right."""
    warnings: tuple[str, ...] = ()
    """Thresholds that can never be reached."""
    due: float = field(default=float("inf"), compare=False)
    """Monotonic time at which the Secrets are read again."""


class RegionSetup:
    """Keeps probes in step with the Region objects in the store.

    Args:
        read_plan: turns an object into a plan; ValueError when it cannot be used.
        changed: called with a region's name when what came of its spec changed.
        jitter: returns a number in [0, 1), for the retries.
    """

    def __init__(
        self,
        *,
        store: Store,
        tracker: HealthTracker,
        secrets: RegionSecrets,
        checks: ClusterChecks,
        read_plan: Callable[[Object], RegionPlan],
        changed: Callable[[str], None],
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._secrets = secrets
        self._checks = checks
        self._read_plan = read_plan
        self._changed = changed
        self._clock = clock
        self._setups: dict[str, Setup] = {}
        # A queue of its own: the common one has workers on the leader only.
        self._queue = KeyedQueue(jitter=jitter)
        self._workers = Workers(self._queue, {REGIONS: self}, clock=clock, metrics=metrics, count=WORKERS)
        store.subscribe(REGIONS, self._queue.add)

    async def run(self) -> None:
        """Set regions up as they appear and change, until cancelled."""
        await self._workers.run()

    def setup(self, region: str) -> Setup | None:
        """Return what came of the region's spec; None while it has not been looked at."""
        return self._setups.get(region)

    async def reconcile(self, key: Key) -> float | None:
        """Bring probes and checks in step with one Region."""
        obj = self._store.get(REGIONS, "", key.name)
        if obj is None:
            self._forget(key.name)
            return None
        metadata = obj["metadata"]
        known = self._setups.get(key.name)
        if known is not None and known.uid != metadata.get("uid", ""):
            # Deleted and made anew under the same name: nothing that is known of the old one is true of this one.
            self._forget(key.name)
            known = None
        now = self._clock.monotonic()
        if known is None or known.generation != metadata.get("generation", 0) or now >= known.due:
            setup = await self._set_up(obj)
            if self._store.get(REGIONS, "", key.name) is None:
                return None  # deleted while its Secrets were read; the visit for that is queued
            self._setups[key.name] = setup
            if setup != known:
                self._changed(key.name)
            known = setup
        return None if known.due == float("inf") else max(0.0, known.due - self._clock.monotonic())

    async def _set_up(self, obj: Object) -> Setup:
        metadata = obj["metadata"]
        name, uid, generation = metadata["name"], metadata.get("uid", ""), metadata.get("generation", 0)
        try:
            plan = self._read_plan(obj)
        except ValueError as error:
            # Known to the tracker all the same, as a region that nothing is to be expected of.
            self._tracker.configure(HealthSpec(region=name, unresolved=("spec",)))
            self._checks.watch(name, None)
            return Setup(uid=uid, generation=generation, plan=None, problems=(("InvalidSpec", _first_line(error)),))
        problems: list[tuple[str, str]] = []
        unresolved: list[str] = []
        probes: list[ProbeSpec] = []
        for probe in plan.probes:
            try:
                probes.append(await self._secrets.probe(probe))
            except SetupProblemError as problem:
                problems.append((problem.reason, f"probe {probe.spec.name}: {problem}"))
                if probe.spec.role is ProbeRole.REQUIRED:
                    unresolved.append(probe.spec.name)
        spec = plan.health_spec(tuple(probes), unresolved=tuple(unresolved))
        for probe_name, message in self._tracker.configure(spec, before=_shown_health(obj)).items():
            problems.append(("ProbeInvalid", f"probe {probe_name}: {message}"))
        self._checks.watch(name, plan.facts.cluster)
        return Setup(
            uid=uid,
            generation=generation,
            plan=plan,
            problems=tuple(problems),
            warnings=unreachable_thresholds(spec),
            due=self._clock.monotonic() + REREAD if plan.secrets else float("inf"),
        )

    def _forget(self, region: str) -> None:
        self._tracker.forget(region)
        self._checks.forget(region)
        if self._setups.pop(region, None) is not None:
            self._changed(region)


def _shown_health(obj: Object) -> Health:
    try:
        return Health((obj.get("status") or {}).get("health", "Unknown"))
    except ValueError:
        return Health.UNKNOWN


def _first_line(error: ValueError) -> str:
    """Say what is wrong in a few lines: a validation error lists every field, with the value that it found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "errors.pydantic.dev" not in line]
    return "; ".join(lines)[:512] or "the spec cannot be read"
