"""From votes and figures to a region's verdict: six rules, and the first that holds wins.

1. Unknown: no vantage has a valid verdict, or the prober suspects itself (or nobody probes a disabled region).
2. Unreachable: at least the quorum of vantages say Down, and no fewer than say otherwise.
3. Unhealthy: error rate and free capacity are both past their thresholds.
4. Recovering: was Unreachable or Unhealthy, and the recovery period of continuous success is not over.
5. Degraded: one figure is past its threshold, an Informational probe is Down, or a report says so.
6. Healthy.

A figure that no source gives never makes a rule true. Messages carry no live figures: a message that changed with each
probe would be written to the API server with each probe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regent.domain.health.model import AdminState, Figures, Health, Thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one vantage says; only valid votes are judged, and `up` is None for a vantage that has no verdict."""

    vantage: str
    up: bool | None
    detail: str = ""
    """Why it says Down, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict rests on, at one moment."""

    votes: tuple[Vote, ...] = ()
    quorum: int = 1
    admin_state: AdminState = AdminState.ENABLED
    figures: Figures = field(default_factory=Figures)
    thresholds: Thresholds = field(default_factory=Thresholds)
    informational_down: tuple[str, ...] = ()
    """Names of the Informational probes that are Down."""
    report: Health | None = None
    """Health that a valid report claims."""
    observer_suspect: str = ""
    """Why the prober suspects itself; empty: it does not."""
    flapping: bool = False
    ever_answered: bool = True
    """Some probe has had a result since the start."""
    troubled: bool = False
    """The last verdict apart from Recovering was Unreachable or Unhealthy."""
    good_for: float = 0.0
    """Seconds of continuous success since then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict, in a word for programs and a sentence for people."""

    health: Health
    reason: str
    message: str
    down: bool = False
    """Rule 2 alone: a quorum says Down."""
    down_votes: int = 0
    vantages: int = 0
    """Vantages with a verdict."""


def judge(evidence: Evidence) -> Judgement:
    """Return the verdict that the rules give."""
    downs = [vote for vote in evidence.votes if vote.up is False]
    ups = [vote for vote in evidence.votes if vote.up]
    down = evidence.admin_state is not AdminState.DISABLED and len(downs) >= max(1, evidence.quorum, len(ups))
    health, reason, message = _verdict(evidence, downs, ups, down=down)
    return Judgement(
        health=health,
        reason=reason,
        message=message,
        down=down,
        down_votes=len(downs),
        vantages=len(downs) + len(ups),
    )


def _verdict(evidence: Evidence, downs: list[Vote], ups: list[Vote], *, down: bool) -> tuple[Health, str, str]:
    unknown = _unknown(evidence, downs, ups)
    if unknown is not None:
        return Health.UNKNOWN, *unknown
    reach = f"{len(ups)}/{len(ups) + len(downs)} vantages reach it"
    if down:
        return _unreachable(evidence, downs, reach)
    figures, limits = evidence.figures, evidence.thresholds
    if _over(figures.error_rate_percent, limits.unhealthy_error_rate_percent) and _under(
        figures.capacity_available_percent, limits.unhealthy_capacity_available_percent
    ):
        return (
            Health.UNHEALTHY,
            "ErrorsWithoutCapacity",
            f"error rate is over {limits.unhealthy_error_rate_percent:g}% and free capacity under "
            f"{limits.unhealthy_capacity_available_percent:g}%",
        )
    # A report can only make things worse, so it is looked at where it would: before the milder verdicts.
    if evidence.report in (Health.UNREACHABLE, Health.UNHEALTHY):
        return Health.UNHEALTHY, "Reported", f"a report says {evidence.report.value}; {reach}"
    if evidence.troubled and evidence.good_for < limits.recovery_period:
        return (
            Health.RECOVERING,
            "RecoveryPeriod",
            f"answers again; Healthy after {limits.recovery_period:g}s of continuous success",
        )
    complaints = _complaints(evidence)
    if downs and not ups:
        complaints.insert(0, ("QuorumNotReached", f"{reach}, and a verdict needs {evidence.quorum}"))
    if complaints:
        return Health.DEGRADED, complaints[0][0], "; ".join(text for _, text in complaints)
    return Health.HEALTHY, "ProbesSucceed", reach


def _unknown(evidence: Evidence, downs: list[Vote], ups: list[Vote]) -> tuple[str, str] | None:
    if evidence.admin_state is AdminState.DISABLED:
        return "Disabled", "adminState is Disabled: the region is not probed"
    if evidence.observer_suspect:
        return "ObserverSuspect", f"the operator does not trust its own probes: {evidence.observer_suspect}"
    if not downs and not ups:
        if evidence.ever_answered:
            return "NoVerdict", "no vantage has a verdict that is still valid: probes could not run or are not decided"
        return "NotProbedYet", "no probe has answered yet"
    return None


def _unreachable(evidence: Evidence, downs: list[Vote], reach: str) -> tuple[Health, str, str]:
    detail = next((f": {vote.detail}" for vote in downs if vote.detail), "")
    if evidence.flapping:
        return Health.UNREACHABLE, "Flapping", f"it goes up and down too often to be trusted; held Down{detail}"
    return Health.UNREACHABLE, "ProbesFail", f"{reach}{detail}"


def _complaints(evidence: Evidence) -> list[tuple[str, str]]:
    figures, limits = evidence.figures, evidence.thresholds
    found = []
    if _over(figures.error_rate_percent, limits.degraded_error_rate_percent):
        found.append(("ErrorRateHigh", f"error rate is over {limits.degraded_error_rate_percent:g}%"))
    if _under(figures.capacity_available_percent, limits.degraded_capacity_available_percent):
        found.append(("CapacityLow", f"free capacity is under {limits.degraded_capacity_available_percent:g}%"))
    if _over(figures.latency_p50, limits.degraded_latency):
        found.append(("LatencyHigh", f"median latency is over {limits.degraded_latency:g}s"))
    if evidence.informational_down:
        names = ", ".join(evidence.informational_down[:5])
        found.append(("InformationalProbeDown", f"informational probe {names} is down"))
    if evidence.report is Health.DEGRADED:
        found.append(("Reported", "a report says Degraded"))
    return found


def _over(figure: float | None, limit: float) -> bool:
    return figure is not None and figure > limit


def _under(figure: float | None, limit: float) -> bool:
    return figure is not None and figure < limit
