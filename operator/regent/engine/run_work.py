"""Gathers a committed run for one visit, and finds the next candidate when one has failed."""

from __future__ import annotations

from regent.domain.failover.candidates import best, judge
from regent.domain.failover.model import Candidate, Plan, RunType, Topology, TriggerKind
from regent.domain.failover.runspec import RunSpec
from regent.domain.traffic import shares
from regent.engine.draft import Draft
from regent.engine.records import enum_of, read_shares
from regent.engine.run_context import Context
from regent.engine.run_objects import read_course
from regent.engine.steps.outcome import Work


def gather(context: Context, spec: RunSpec, draft: Draft, *, transitions: int) -> Work:
    """Return the run as its own journal tells it."""
    status = draft.journal.status
    plan = status.get("plan") or {}
    return Work(
        context=context,
        spec=spec,
        course=read_course(status),
        source=spec.source,
        to=str(plan.get("chosen") or ""),
        before=read_shares(plan.get("before")),
        after=read_shares(plan.get("after")),
        draft=draft,
        drivers=context.drivers,
        transitions=transitions,
        next_region=next_region(context, spec, draft),
    )


def next_region(context: Context, spec: RunSpec, draft: Draft) -> str:
    """The best region that this run has not tried; "" where there is none, or only one way to go."""
    if spec.to or context.spec.topology is Topology.ACTIVE_ACTIVE:
        return ""
    return best(_candidates(context, spec, draft))


def _candidates(context: Context, spec: RunSpec, draft: Draft) -> tuple[Candidate, ...]:
    status = draft.journal.status
    tried = {str(item.get("region")) for item in status.get("attempts") or ()}
    tried |= {str((status.get("plan") or {}).get("chosen") or ""), spec.source}
    return judge(context.snapshot, exclude=tried, desperate=True)


def next_plan(work: Work) -> Plan | None:
    """The plan for the next candidate, or None when there is none any more."""
    to = next_region(work.context, work.spec, work.draft)
    if not to:
        return None
    names = [entry.name for entry in work.context.spec.regions]
    trigger = work.draft.journal.status.get("trigger")
    reason = str((work.draft.journal.status.get("attempts") or [{}])[-1].get("reason", ""))
    return Plan(
        type=work.spec.type if work.spec.type is not RunType.DRILL else RunType.FAILOVER,
        trigger=enum_of(TriggerKind, trigger, TriggerKind.MANUAL),
        source=work.source,
        to=to,
        before=dict(work.before),
        after=shares.only(names, to),
        candidates=_candidates(work.context, work.spec, work.draft),
        reason=reason,
    )
