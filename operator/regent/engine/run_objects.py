"""Making and ending Failover objects: names, metadata, terminal states, the one-line audit record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.failover.course import Course
from regent.domain.failover.model import Candidate, Plan, PolicySpec, RunType
from regent.domain.failover.options import TransitionType
from regent.engine.journal import Journal
from regent.engine.ports import Object
from regent.engine.promotion import PromotionDriver
from regent.engine.records import (
    MANAGED_BY_LABEL,
    POLICY_LABEL,
    TRIGGER_ANNOTATION,
    time_of,
    write_shares,
)
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.traffic import TrafficTarget


def new_run(policy: PolicySpec, plan: Plan, *, number: int) -> Object:
    """The Failover object of an automatic run: `<policy>-<number>`, owned by its policy."""
    spec: dict[str, Any] = {
        "policyRef": {"name": policy.name},
        "type": plan.type.value,
        "reason": plan.reason[:1024],
    }
    if plan.source:
        spec["from"] = plan.source
    if plan.type is RunType.FAILBACK and plan.to != plan.source:
        spec["to"] = plan.to
    body = new_run_metadata(policy, name=f"{policy.name}-{number}")
    body["metadata"]["annotations"] = {TRIGGER_ANNOTATION: plan.trigger.value}
    return {**body, "spec": spec}


def new_run_metadata(policy: PolicySpec, *, name: str) -> dict[str, Any]:
    """Kind and metadata of a run that Regent makes itself, owned by its policy."""
    owner = {
        "apiVersion": FAILOVER_POLICIES.api_version,
        "kind": FAILOVER_POLICIES.kind,
        "name": policy.name,
        "uid": policy.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": FAILOVERS.api_version,
        "kind": FAILOVERS.kind,
        "metadata": {
            "namespace": policy.namespace,
            "name": name,
            "labels": {MANAGED_BY_LABEL: "regent", POLICY_LABEL: policy.name},
            "ownerReferences": [owner],
        },
    }


def plan_status(plan: Plan, course: Course) -> dict[str, Any]:
    """`status.plan`: what was decided and how it will be done, with a hash over all that is approved with it.

    The hash leaves out the candidates' reasons: they change with every probe and change nothing of what will be done.
    """
    body = {
        "chosen": plan.to,
        "before": write_shares(plan.before),
        "after": write_shares(plan.after),
        "planned": course.planned,
        "transition": course.transition.value,
        "order": list(course.order),
    }
    text = json.dumps({"type": plan.type.value, "from": plan.source, **body}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**body, "candidates": candidate_rows(plan.candidates), "hash": f"sha256:{digest}"}


def read_course(status: Mapping[str, Any]) -> Course:
    """The course that `plan_status` wrote."""
    plan = status.get("plan") or {}
    return Course(
        planned=bool(plan.get("planned")),
        transition=TransitionType(plan.get("transition") or TransitionType.IMMEDIATE.value),
        order=tuple(str(name) for name in plan.get("order") or ()),
    )


def candidate_rows(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Candidates as the API shows them; a rank only where there is one."""
    rows = []
    for row in candidates:
        item: dict[str, Any] = {"region": row.region, "eligible": row.eligible, "reasons": list(row.reasons)}
        if row.rank:
            item["rank"] = row.rank
        if row.lag:
            item["lag"] = row.lag
        rows.append(item)
    return rows


async def take_snapshot(
    targets: Sequence[TrafficTarget],
    distribution: Mapping[str, int],
    drivers: Sequence[PromotionDriver],
    regions: Sequence[str],
    *,
    fresh: bool = False,
) -> dict[str, str]:
    """`status.snapshot`: the weights of every target and the roles in `regions`, and the hash that a rollback has to
    meet. `fresh` reads past the cache."""
    observed = [await target.observe(distribution, fresh=fresh) for target in targets]
    body: dict[str, Any] = {state.ref: state.snapshot for state in observed if state.exists}
    if drivers:
        body["roles"] = {
            driver.step.name: {region: dict((await driver.observe(region)).snapshot) for region in sorted(regions)}
            for driver in drivers
        }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return {"body": text[:65_536], "hash": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}


def end(journal: Journal, *, phase: str, reason: str, message: str, now: float, now_text: str) -> None:
    """Put a run into a terminal phase: conditions, completion time and duration."""
    good = phase in ("Succeeded", "NotNeeded")
    started = time_of(journal.status.get("detectionTime")) or time_of(journal.status.get("startTime"))
    journal.put(phase=phase, completionTime=now_text)
    if started is not None:
        journal.put(durationMilliseconds=max(0, round((now - started) * 1000)))
    journal.condition("Complete", "True", phase, message)
    journal.condition("Succeeded", "True" if phase == "Succeeded" else "False", reason, message)
    journal.condition("Ready", "True" if good else "False", reason, message)


def audit_line(run: Mapping[str, Any]) -> str:
    """One JSON line that stays in the log when the object is pruned."""
    metadata, spec, status = run["metadata"], run.get("spec") or {}, run.get("status") or {}
    plan = status.get("plan") or {}
    return json.dumps(
        {
            "failover": f"{metadata['namespace']}/{metadata['name']}",
            "uid": metadata.get("uid", ""),
            "policy": (spec.get("policyRef") or {}).get("name", ""),
            "type": spec.get("type", ""),
            "trigger": status.get("trigger", ""),
            "requestedBy": status.get("requestedBy", ""),
            "from": spec.get("from", ""),
            "to": plan.get("chosen", ""),
            "phase": status.get("phase", ""),
            "epoch": status.get("epoch", 0),
            "before": plan.get("before", []),
            "after": plan.get("after", []),
            "startTime": status.get("startTime", ""),
            "completionTime": status.get("completionTime", ""),
            "durationMilliseconds": status.get("durationMilliseconds"),
            "reason": spec.get("reason", ""),
        },
        sort_keys=True,
    )
