"""The status of a Region as the API shows it: pure functions of what was found and of the status as it is.

Figures move all the time and a status must not. They are shown in coarse steps, and a new step is only written when it
has held for five minutes, or together with a change that has to be written anyway. Exact figures are metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.health.model import Figures, Health, RegionHealth
from regent.domain.times import rfc3339
from regent.engine.region_clusters import SPEC_FAULTS
from regent.engine.region_setup import Setup
from regent.engine.region_watch import VantageView

STEADY = 300.0
"""Seconds for which a figure has to differ from the one shown."""

CERTIFICATE_WARNING = 14 * 86_400.0
"""Seconds before the end of a certificate at which it is shown as expiring."""

LEAST_MILLISECONDS = 5
"""Latencies that differ by less are the same to a reader."""

HUB_INSIDE = "HubInsideRegion"
"""The condition of a Region whose member cluster is the hub."""

PASSING = ("CertificateExpiring", "ThresholdUnreachable", "LoadSourceUnsupported", HUB_INSIDE)
"""Conditions that are there only while they are True."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that a Region's status is made of."""

    setup: Setup
    health: RegionHealth
    vantages: tuple[VantageView, ...]
    cluster: Condition
    primary_of: int
    certificate_expiry_time: float | None
    wall: float
    hub_inside: bool = False
    """The region's member cluster is the hub itself."""


def quantised_milliseconds(seconds: float) -> int:
    """Return a latency in milliseconds, rounded up to 1, 2 or 5 times a power of ten; at least 1."""
    milliseconds = max(seconds * 1000, 1.0)
    power = 1
    while True:
        for step in (1, 2, 5):
            # A hair's breadth above a step is the step: 0.01 s is 10 ms and not 20.
            if milliseconds <= step * power * 1.0001:
                return step * power
        power *= 10


def quantised_percent(percent: float) -> int:
    """Return a percentage in steps of 5."""
    return min(100, max(0, round(percent / 5) * 5))


def shown_figures(figures: Figures) -> dict[str, int]:
    """Return the figures as the status shows them; those that nobody gives are left out."""
    found = {}
    if figures.latency_p50 is not None:
        found["latencyMilliseconds"] = quantised_milliseconds(figures.latency_p50)
    if figures.error_rate_percent is not None:
        found["errorRatePercent"] = quantised_percent(figures.error_rate_percent)
    if figures.capacity_available_percent is not None:
        found["capacityAvailablePercent"] = quantised_percent(figures.capacity_available_percent)
    return found


FIGURES = ("latencyMilliseconds", "errorRatePercent", "capacityAvailablePercent")


class SteadyFigures:
    """Decides when new figures of one region are worth a write."""

    __slots__ = ("_differ_since",)

    def __init__(self) -> None:
        self._differ_since: float | None = None

    def choose(self, shown: Mapping[str, Any], figures: Figures, *, now: float) -> dict[str, int]:
        """Return the figures to show, by monotonic time: those shown, until others have held long enough."""
        measured = shown_figures(figures)
        current = {name: shown[name] for name in FIGURES if name in shown}
        if any(name not in current for name in measured):
            return {**current, **measured}  # the first figure of its kind is news
        if not _differ(current, figures):
            self._differ_since = None
            return current
        if self._differ_since is None:
            self._differ_since = now
        if now - self._differ_since < STEADY:
            return current
        self._differ_since = None
        return {**current, **measured}


def _differ(shown: Mapping[str, int], figures: Figures) -> bool:
    """Tell whether a figure has left the step that is shown, by a margin: one that hovers at the border between two
    steps would otherwise be rewritten again and again."""
    latency = figures.latency_p50
    if latency is not None and "latencyMilliseconds" in shown:
        step, milliseconds = shown["latencyMilliseconds"], latency * 1000
        below = quantised_milliseconds(step / 1000 / 2.01)
        outside = milliseconds > step * 1.25 or milliseconds < below / 1.25
        if outside and abs(quantised_milliseconds(latency) - step) >= LEAST_MILLISECONDS:
            return True
    pairs = (
        (figures.error_rate_percent, "errorRatePercent"),
        (figures.capacity_available_percent, "capacityAvailablePercent"),
    )
    return any(percent is not None and name in shown and abs(percent - shown[name]) >= 5 for percent, name in pairs)


def build(obj: Mapping[str, Any], found: Found, figures: Mapping[str, int]) -> dict[str, Any]:
    """Return the status of a Region object.

    Args:
        obj: the object as it is; what it shows is kept where nothing changed.
        figures: what to show when nothing else changes; with a real change the measured ones are shown.
    """
    before = obj.get("status") or {}
    status = _without_figures(before, found)
    if _without_figures_of(before) != status:
        figures = shown_figures(found.health.figures)
    return {**status, **figures}


def _without_figures_of(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in FIGURES}


def _without_figures(before: Mapping[str, Any], found: Found) -> dict[str, Any]:
    now, health = rfc3339(found.wall), found.health
    status = _without_figures_of(before)
    if status.get("health", "Unknown") != health.health.value or "lastTransitionTime" not in status:
        status["lastTransitionTime"] = now
    status["observedGeneration"] = found.setup.generation
    status["health"] = health.health.value
    status["message"] = health.message
    status["primaryOf"] = found.primary_of
    status["vantages"] = _vantages(before.get("vantages") or (), found.vantages, now)
    wanted = conditions(found)
    absent = set(PASSING) - {condition.type for condition in wanted}
    existing = [item for item in before.get("conditions") or () if item.get("type") not in absent]
    status["conditions"] = merge(existing, wanted, now=now, generation=found.setup.generation)
    return status


def _vantages(before: Any, views: tuple[VantageView, ...], now: str) -> list[dict[str, Any]]:
    known = {item.get("name"): item for item in before}
    shown = []
    for view in views:
        item = {"name": view.name, "health": view.health.value, "message": view.message}
        previous = known.get(view.name)
        # The replica that writes may have changed its mind at another moment than the one that wrote before: as long
        # as they agree, the time that is shown stands.
        changed = view.last_change_time is None or previous is None or previous.get("health") != item["health"]
        item["lastChangeTime"] = (
            (now if view.last_change_time is None else rfc3339(view.last_change_time))
            if changed or previous is None
            else previous.get("lastChangeTime", now)
        )
        shown.append(item)
    return shown


def conditions(found: Found) -> list[Condition]:
    """Return the conditions that hold."""
    wanted = [ready(found), _healthy(found.health), _reachable(found.health), found.cluster]
    expiry = found.certificate_expiry_time
    if expiry is not None and expiry - found.wall < CERTIFICATE_WARNING:
        verb = "expired" if expiry <= found.wall else "expires"
        message = f"a certificate of the region {verb} on {rfc3339(expiry)}; renew it, or its probes fail"
        wanted.append(Condition("CertificateExpiring", "True", "Expires", message))
    if found.setup.warnings:
        wanted.append(Condition("ThresholdUnreachable", "True", "Thresholds", ". ".join(found.setup.warnings)))
    if found.hub_inside:
        message = (
            "the hub lives in this region's cluster and is lost with it: nobody fails over then. Run Regent in a "
            "cluster of its own, outside of the regions that it guards"
        )
        wanted.append(Condition(HUB_INSIDE, "True", "SameCluster", message))
    if found.setup.plan is not None and found.setup.plan.prometheus:
        message = "spec.load.prometheus is not read yet: use load.healthBody; error rate comes from the probes"
        wanted.append(Condition("LoadSourceUnsupported", "True", "Prometheus", message))
    return wanted


def ready(found: Found) -> Condition:
    """Return Ready: the spec was understood and is acted on. It stays True while the region is down."""
    problems = list(found.setup.problems)
    if found.cluster.status == "False" and found.cluster.reason in SPEC_FAULTS:
        problems.append((found.cluster.reason, f"member cluster: {found.cluster.message}"))
    if problems:
        return Condition("Ready", "False", problems[0][0], "; ".join(message for _, message in problems))
    if found.health.reason == "Disabled":
        return Condition("Ready", "True", "Disabled", "the region is not probed, as spec.adminState says")
    return Condition("Ready", "True", "Reconciled", "the region is probed as its spec says")


def _healthy(health: RegionHealth) -> Condition:
    status = {Health.HEALTHY: "True", Health.UNKNOWN: "Unknown"}.get(health.health, "False")
    return Condition("Healthy", status, health.reason, health.message)


def _reachable(health: RegionHealth) -> Condition:
    if health.down:
        return Condition("Reachable", "False", "Down", f"{health.down_votes} of {health.vantages} vantages say Down")
    if not health.vantages or health.health is Health.UNKNOWN:
        return Condition("Reachable", "Unknown", health.reason, health.message)
    return Condition("Reachable", "True", "Up", f"{health.vantages - health.down_votes}/{health.vantages} reach it")
