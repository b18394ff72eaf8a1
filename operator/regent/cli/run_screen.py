"""One run on the screen: what it does, its plan with the candidates and their reasons, its steps with their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regent.cli.fields import EMPTY, age, items_at, milliseconds, name_of, text_at, value_at
from regent.cli.output import facts, table
from regent.domain.conditions import find
from regent.domain.times import parse_rfc3339
from regent.domain.traffic import shares
from regent.engine.ports import Object
from regent.engine.records import is_automatic, is_over, read_shares


def run_screen(run: Object, *, now: float, plan: bool = True) -> RenderableType:
    """Lay out one run: facts, plan (where `plan`), steps."""
    parts: list[RenderableType] = [facts(run_facts(run, now))]
    if plan and value_at(run, ".status.plan"):
        parts += [Text(), Text("Plan", style="bold"), plan_screen(run)]
    if items_at(run, ".status.steps"):
        parts += [Text(), Text("Steps", style="bold"), steps_table(items_at(run, ".status.steps"))]
    return Group(*parts)


def run_facts(run: Object, now: float) -> list[tuple[str, str]]:
    """Give what a run is and how far it is, as names and values."""
    past_return = value_at(run, ".status.pointOfNoReturn")
    return [
        ("Run", f"{name_of(run)}: {way(run)}"),
        ("Policy", text_at(run, ".spec.policyRef.name")),
        ("Phase", text_at(run, ".status.phase")),
        ("Why", why(run)),
        ("Trigger", text_at(run, ".status.trigger")),
        ("Reason", text_at(run, ".spec.reason")),
        ("Asked by", text_at(run, ".status.requestedBy")),
        ("Scheduled", text_at(run, ".spec.scheduleTime")),
        ("Wanted", _wanted(run)),
        ("Epoch", text_at(run, ".status.epoch")),
        ("Started", ago(age(value_at(run, ".status.startTime"), now))),
        ("Took", milliseconds(value_at(run, ".status.durationMilliseconds"))),
        ("No return", f"{text_at(past_return, 'kind')} since {text_at(past_return, 'time')}" if past_return else ""),
        ("Data loss", text_at(run, ".status.estimatedDataLoss")),
        ("Attempts", _attempts(items_at(run, ".status.attempts"))),
    ]


def way(run: Object) -> str:
    """Write a run's type and direction, such as `Failover eu-west-1 → eu-central-1`."""
    start = text_at(run, ".spec.from")
    end = destination(run) or "(Regent chooses)"
    kind = text_at(run, ".spec.type") + (" (dry run)" if value_at(run, ".spec.dryRun") else "")
    return f"{kind} {end}" if start == EMPTY else f"{kind} {start} → {end}"


def destination(run: Object) -> str:
    """Name the region that becomes active: the chosen one, else the one that was asked for; "" when neither is."""
    return str(value_at(run, ".status.plan.chosen") or value_at(run, ".spec.to") or "")


def why(run: Object) -> str:
    """Give the sentence that explains the phase: how it ended, or what it waits for."""
    conditions = items_at(run, ".status.conditions")
    kinds = ("Complete", "Succeeded") if is_over(run) else ("Accepted", "Approved", "Ready", "Fenced", "Promoted")
    for kind in kinds:
        item = find(conditions, kind)
        waits = item is not None and (is_over(run) or item.get("status") != "True")
        if item is not None and waits and item.get("message"):
            return text_at(item, "message")
    return EMPTY


def _wanted(run: Object) -> str:
    control = value_at(run, ".spec.control") or {}
    said = [str(control.get("desired"))] if control.get("desired", "Run") != "Run" else []
    said += [word for field, word in (("force", "force"), ("acceptDataLoss", "accept data loss")) if control.get(field)]
    return ", ".join(said)


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"{text_at(item, 'region')}: {text_at(item, 'result')}"
        + (f" ({text_at(item, 'reason')})" if item.get("reason") else "")
        for item in attempts
    )


def plan_screen(run: Object) -> RenderableType:
    """Lay out the plan of a run: shares before and after, hash, candidates with all their reasons."""
    plan = value_at(run, ".status.plan") or {}
    before, after = read_shares(plan.get("before")), read_shares(plan.get("after"))
    lines = facts(
        [
            ("Chosen", text_at(plan, "chosen")),
            ("Shares", f"{shares.describe(before)} → {shares.describe(after)}" if after else ""),
            ("Moves", _manner(plan)),
            ("Steps", ", ".join(plan.get("order") or ())),
            ("Hash", text_at(plan, "hash")),
        ]
    )
    candidates = items_at(plan, "candidates")
    return Group(lines, candidates_table(candidates)) if candidates else lines


def _manner(plan: Mapping[str, Any]) -> str:
    """Write how traffic moves, and whether the old side hands over."""
    transition = text_at(plan, "transition")
    if transition == EMPTY:
        return EMPTY
    return f"{transition}, {'planned: the old side hands over' if plan.get('planned') else 'the old side is left'}"


def candidates_table(candidates: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out candidates: rank, whether they may take over, everything that speaks against them."""
    return table(
        ["candidate", "takes over", "rank", "lag", "reasons"],
        (
            [
                text_at(item, "region"),
                "yes" if item.get("eligible") else "no",
                text_at(item, "rank"),
                str(item.get("lag") or EMPTY),
                "; ".join(item.get("reasons") or ()) or EMPTY,
            ]
            for item in candidates
        ),
    )


def steps_table(steps: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out the journal: each step of each attempt with its time."""
    return table(
        ["attempt", "step", "state", "took", "message"],
        (
            [
                text_at(step, "attempt"),
                text_at(step, "name"),
                text_at(step, "state"),
                took(step),
                text_at(step, "message"),
            ]
            for step in steps
        ),
    )


def took(step: Mapping[str, Any]) -> str:
    """Write how long a step took; `-` while it is not over."""
    start, end = step.get("startTime"), step.get("completionTime")
    return milliseconds(max(0, round((parse_rfc3339(end) - parse_rfc3339(start)) * 1_000))) if start and end else EMPTY


def runs_table(runs: Iterable[Object], *, now: float) -> Table:
    """Lay out runs, one a line."""
    return table(
        ["namespace", "run", "policy", "type", "from", "to", "phase", "step", "trigger", "by", "took", "age"],
        (
            [
                text_at(run, ".metadata.namespace"),
                name_of(run),
                text_at(run, ".spec.policyRef.name"),
                text_at(run, ".spec.type") + (" (dry run)" if value_at(run, ".spec.dryRun") else ""),
                text_at(run, ".spec.from"),
                destination(run) or EMPTY,
                text_at(run, ".status.phase"),
                text_at(run, ".status.currentStep"),
                text_at(run, ".status.trigger"),
                "regent" if is_automatic(run) else text_at(run, ".status.requestedBy"),
                milliseconds(value_at(run, ".status.durationMilliseconds")),
                age(value_at(run, ".metadata.creationTimestamp"), now),
            ]
            for run in runs
        ),
    )


def ago(text: str) -> str:
    """Write `3m ago`; `-` stays as it is."""
    return text if text == EMPTY else f"{text} ago"
