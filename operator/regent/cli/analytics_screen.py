"""What was counted of runs, as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import EMPTY, milliseconds, span
from regent.cli.output import facts, table
from regent.domain.failover.analytics import Analytics, Drills, Outcome, Recovery, Spread, Tally
from regent.domain.times import rfc3339
from regent.domain.traffic import shares

LAST_POINTS = 10
"""Moves of a policy that are shown; the JSON document has them all."""

_ENDS = (
    Outcome.SUCCEEDED,
    Outcome.FAILED,
    Outcome.ROLLED_BACK,
    Outcome.CANCELLED,
    Outcome.NOT_NEEDED,
    Outcome.SUPERSEDED,
    Outcome.UNFINISHED,
)
_HEADS = ["runs", "success", "succeeded", "failed", "rolled back", "cancelled", "not needed", "superseded", "open"]


def analytics_screen(found: Analytics) -> RenderableType:
    """Lay out the analytics."""
    if not found.total.runs and not found.drills.counts.runs:
        return Text("No runs yet.")
    parts: list[RenderableType] = [Text("Runs", style="bold"), _tallies("", [("all", found.total)])]
    if found.pruned.runs:
        counted = ", ".join(f"{count} {kind.value}" for kind, count in found.pruned.counts.items())
        parts.append(Text(f"{found.pruned.runs} of them were pruned ({counted}): they are counted here only."))
    parts += [
        *_section("Strategies", "strategy", ((kind.value, counts) for kind, counts in found.transitions.items())),
        *_section("Started by", "by", ((kind.value, counts) for kind, counts in found.origins.items())),
        *_section("Triggers", "trigger", ((kind.value, counts) for kind, counts in found.triggers.items())),
        *_durations(found),
        *_regions(found),
        Text(),
        Text("Recovery", style="bold"),
        facts(_recovery(found.recovery, found.cascades)),
        *_drills(found.drills),
        *_traffic(found),
    ]
    return Group(*parts)


def _section(heading: str, noun: str, rows: Iterable[tuple[str, Tally]]) -> list[RenderableType]:
    listed = list(rows)
    return [Text(), Text(heading, style="bold"), _tallies(noun, listed)] if listed else []


def _tallies(noun: str, rows: Iterable[tuple[str, Tally]]) -> RenderableType:
    return table([noun, *_HEADS], ([name, *_cells(counts)] for name, counts in rows))


def _cells(counts: Tally) -> list[str]:
    return [str(counts.runs), success(counts), *(str(counts[kind]) for kind in _ENDS)]


def success(counts: Tally) -> str:
    """Write the share of success; `-` when no run has shown it."""
    percent = counts.success_percent
    return EMPTY if percent is None else f"{percent:.0f}%"


def _durations(found: Analytics) -> list[RenderableType]:
    rows = [("whole run", found.duration)] if found.duration else []
    rows += [(name, times) for name, times in found.steps.items()]
    if not rows:
        return []
    laid = table(["step", "count", "median", "p95", "longest"], ([name, *_times(times)] for name, times in rows))
    return [Text(), Text("Durations", style="bold"), laid]


def _times(times: Spread) -> list[str]:
    values = (times.median, times.p95, times.longest)
    return [str(times.count), *(milliseconds(round(value * 1_000)) for value in values)]


def _regions(found: Analytics) -> list[RenderableType]:
    if not found.regions:
        return []
    rows = ([row.region, str(row.faults), str(row.left), str(row.entered)] for row in found.regions)
    return [Text(), Text("Regions", style="bold"), table(["region", "faults", "left", "entered"], rows)]


def _recovery(recovery: Recovery, cascades: Tally) -> list[tuple[str, str]]:
    away = recovery.away
    return [
        ("Rolled back", f"{recovery.rolled_back}; {recovery.not_rolled_back} failed and were not"),
        ("Failbacks", f"{recovery.failbacks.runs}, success {success(recovery.failbacks)}"),
        ("Time away", f"median {span(away.median)}, longest {span(away.longest)}" if away else ""),
        ("Still away", f"{recovery.still_away} moves that no failback has undone" if recovery.still_away else ""),
        ("Cascades", f"{cascades.runs}, success {success(cascades)}" if cascades.runs else ""),
    ]


def _drills(drills: Drills) -> list[RenderableType]:
    counts = drills.counts
    if not counts.runs:
        return []
    passed, failed = counts[Outcome.SUCCEEDED], counts[Outcome.FAILED]
    rows = (
        [run.policy, "passed" if run.outcome is Outcome.SUCCEEDED else run.outcome.value.lower(), run.name, run.message]
        for run in drills.last
    )
    return [
        Text(),
        Text("Drills", style="bold"),
        Text(f"{counts.runs}: {passed} passed, {failed} failed. The last one of each policy:"),
        table(["policy", "result", "run", "message"], rows),
    ]


def _traffic(found: Analytics) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if found.shares:
        rows = (
            [row.region, f"{row.average:.0f} %", f"{row.now:.0f} %", row.direction.value.lower()]
            for row in found.shares
        )
        parts += [Text(), Text("Traffic by region", style="bold"), table(["region", "average", "now", "trend"], rows)]
    for trend in found.trends:
        average = ", ".join(f"{region} {share:.0f} %" for region, share in sorted(trend.average.items()))
        rows = (
            [rfc3339(point.time), shares.describe(point.shares), point.run or EMPTY]
            for point in trend.points[-LAST_POINTS:]
        )
        parts += [
            Text(),
            Text(f"Traffic of {trend.policy}", style="bold"),
            Text(f"on average {average}"),
            table(["since", "shares", "run"], rows),
        ]
    return parts
