"""Gathers what a decision about one policy depends on into a frozen snapshot. All reading is done here.

Neighbours: `domain.failover.decide` judges the snapshot, `policies` acts on the judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.duration import format_duration, parse_duration
from regent.domain.failover.model import (
    FiredTrigger,
    PolicySpec,
    PolicyState,
    RateTrigger,
    RegionView,
    Snapshot,
    TriggerKind,
    Urgency,
)
from regent.domain.health.model import AdminState, RegionHealth
from regent.domain.health.panic import Panic, panicking
from regent.domain.health.triggers import Figure
from regent.domain.placement import PlacementRule, judge
from regent.engine.health import HealthTracker
from regent.engine.policy_surroundings import placement_rules, replication_lags
from regent.engine.ports import Clock, Object
from regent.engine.records import run_record
from regent.engine.resources import REGIONS
from regent.engine.store import Store

SERVING = RegionHealth(region="")
"""Stands for every region that is not down, where only the down ones matter."""

DEFAULT_TIMEOUT = "2s"
"""Of a probe that says none, as the API defaults it."""

TIERS = {"Primary": 0, "Secondary": 1, "Tertiary": 2}


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """What a Region's spec says that a failover cares about."""

    admin_state: AdminState
    tier: int
    priority: int
    suspended: bool
    capacity_total: float | None
    compliance: frozenset[str]
    longest_timeout: float | None


class Snapshots:
    """Builds snapshots.

    Args:
        store: watched objects.
        tracker: the health of regions as this replica sees it.
        clock: time.
        startup_grace: seconds after `begin` during which nothing is decided automatically.
        suspend_all: the global switch, read at every snapshot.
        clock_off: why this machine's clock is not to be trusted, "" when it is.
    """

    def __init__(
        self,
        *,
        store: Store,
        tracker: HealthTracker,
        clock: Clock,
        startup_grace: float,
        suspend_all: Callable[[], bool],
        clock_off: Callable[[], str] = lambda: "",
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._clock = clock
        self._grace = startup_grace
        self._suspend_all = suspend_all
        self._clock_off = clock_off
        self._started: float | None = None
        self._down: dict[str, RegionHealth] = {}
        tracker.subscribe(self._note_down)

    def begin(self, *, since: float) -> None:
        """Start the grace period, counted from the monotonic time `since` at which this replica began to watch: a warm
        standby that takes over has had it already, and waits only for regions that it has not seen."""
        self._started = since

    def build(
        self,
        policy: PolicySpec,
        state: PolicyState,
        runs: Sequence[Object],
        *,
        lags: Mapping[str, float | None] | None = None,
        roles: Mapping[str, frozenset[str]] | None = None,
    ) -> Snapshot:
        """Return the world as it is now for `policy`.

        Args:
            policy: what it wants.
            state: what its status records.
            runs: its Failover objects.
            lags: seconds that the data steps of each region are behind (None: unknown), where they were looked at.
            roles: the promotion steps that were seen active in each region.
        """
        now = self._clock.monotonic()
        names = [entry.name for entry in policy.regions]
        names += [name for name in state.distribution if name not in names]
        rules = placement_rules(self._store, policy)
        regions = {name: self._view(name, policy, rules) for name in names}
        panic = self._panic(policy.safety.panic_percent)
        observer = self._tracker.observer()
        return Snapshot(
            policy=policy,
            state=state,
            regions=regions,
            now=now,
            wall_time=self._clock.wall(),
            runs=tuple(run_record(run) for run in runs),
            in_grace=self._started is None or now - self._started < self._grace,
            suspend_all=self._suspend_all(),
            suspect_observer=observer.message if observer.suspect else "",
            clock_off=self._clock_off(),
            panic=panic.message if panic is not None else "",
            lags=lags or {},
            replication=replication_lags(self._store, policy, state, wall=self._clock.wall()),
            roles=roles or {},
        )

    def _note_down(self, region: str) -> None:
        """Keep the regions that are down at hand: to ask for the health of every region at every visit is what made a
        hundred policies that fail over at once slow."""
        health = self._tracker.health(region)
        if health.down:
            self._down[region] = health
        else:
            self._down.pop(region, None)

    def _panic(self, percent: int) -> Panic | None:
        if not self._down:
            return None
        return panicking([self._down.get(name, SERVING) for name in self._enabled()], percent=percent)

    def _enabled(self) -> list[str]:
        return [
            obj["metadata"]["name"]
            for obj in self._store.list(REGIONS)
            if (obj.get("spec") or {}).get("adminState", "Enabled") == "Enabled"
        ]

    def _view(self, name: str, policy: PolicySpec, rules: Sequence[PlacementRule]) -> RegionView:
        obj = self._store.get(REGIONS, "", name)
        health = self._tracker.health(name)
        # A Region that is being deleted is gone for our purposes: traffic should leave before its finalizers end.
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return RegionView(name=name, exists=False, health=health)
        facts = region_facts(obj)
        placed = judge(rules, name, facts.compliance)
        return RegionView(
            name=name,
            admin_state=facts.admin_state,
            tier=facts.tier,
            priority=facts.priority,
            health=health,
            fired=self._fired(name, policy),
            settled=facts.admin_state is AdminState.DISABLED or self._tracker.first_round_done(name),
            suspended=facts.suspended,
            capacity_total=facts.capacity_total,
            longest_timeout=facts.longest_timeout,
            placement_denied=placed.denied,
            placement_preferred=placed.preferred,
        )

    def _fired(self, region: str, policy: PolicySpec) -> tuple[FiredTrigger, ...]:
        triggers = policy.triggers
        asked = (
            (TriggerKind.ERROR_RATE, Urgency.MEDIUM, _error_figure(triggers.error_rate), triggers.error_rate),
            (TriggerKind.LATENCY, Urgency.MEDIUM, Figure.LATENCY_P95, triggers.latency),
            (TriggerKind.CAPACITY, Urgency.LOW, Figure.CAPACITY, triggers.capacity),
        )
        found = []
        for kind, urgency, figure, rate in asked:
            if rate is None:
                continue
            held = self._tracker.held(region, figure=figure, threshold=rate.threshold, duration=rate.duration)
            if held is not None:
                found.append(
                    FiredTrigger(kind=kind, urgency=urgency, region=region, message=_rate_message(kind, region, rate))
                )
        return tuple(found)


def _rate_message(kind: TriggerKind, region: str, rate: RateTrigger) -> str:
    """Says the rule and not the figure of the moment, which would change the status with every visit."""
    held = f"for {format_duration(rate.duration)}"
    if kind is TriggerKind.LATENCY:
        return f"Region {region}: p95 latency above {format_duration(rate.threshold)} {held}"
    if kind is TriggerKind.CAPACITY:
        return f"Region {region}: free capacity below {rate.threshold:g} % {held}"
    return f"Region {region}: error rate above {rate.threshold:g} % {held}"


def _error_figure(trigger: RateTrigger | None) -> Figure:
    return Figure.PROBE_ERROR_RATE if trigger is not None and trigger.probes_only else Figure.LOAD_ERROR_RATE


def region_facts(region: Mapping[str, object]) -> RegionFacts:
    """What the Region object says; what it leaves out is as the API defaults it."""
    spec = region.get("spec")
    values = spec if isinstance(spec, Mapping) else {}
    total = (values.get("capacity") or {}).get("total")
    return RegionFacts(
        admin_state=AdminState(values.get("adminState") or "Enabled"),
        tier=TIERS.get(str(values.get("tier") or "Secondary"), 1),
        priority=int(values.get("priority", 100)),
        suspended=bool(values.get("suspend")),
        capacity_total=float(total) if isinstance(total, int | float) else None,
        compliance=frozenset(map(str, values.get("compliance") or ())),
        longest_timeout=_longest_timeout(values.get("probes") or ()),
    )


def _longest_timeout(probes: Sequence[Mapping[str, Any]]) -> float | None:
    try:
        return max((parse_duration(str(probe.get("timeout") or DEFAULT_TIMEOUT)) for probe in probes), default=None)
    except ValueError:
        return None  # the Region says itself what is wrong with it
