"""The status of a ReplicationPolicy, and the events that tell of its changes.

Figures that move all the time are shown in steps, so that nothing is written while nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import nan
from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.replication.model import ReplicationSpec, Strategy
from regent.domain.replication.state import (
    Counts,
    Digests,
    State,
    TargetFacts,
    lag,
    target_state,
    worst_state,
)
from regent.domain.replication.storage import Storage
from regent.domain.times import rfc3339
from regent.engine.ports import Metrics, Object, Recorder
from regent.engine.replication.links import Link
from regent.engine.replication.looking import Outcome
from regent.engine.replication.scope import Scope
from regent.engine.replication.storage_status import CONDITION, storage_condition, storage_row
from regent.engine.replication.syncing import Syncing
from regent.engine.replication.transfers import Transfers

LEAST_LAG = 2.0
"""Seconds below which a lag is not told apart: how often a quiet source is asked for a sign of life."""
MAX_ERRORS = 16
MAX_ERROR = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a visit has found. `spec` is None when it cannot be read."""

    spec: ReplicationSpec | None
    scope: Scope
    problem: Condition | None = None
    targets: tuple[Syncing, ...] = ()
    unserved: tuple[str, ...] = ()
    wall: float = 0.0
    monotonic: float = 0.0
    source_down_at: float | None = None
    """Since when a source is Unreachable that a failover is leaving, in wall time; None: there is no such run."""
    transfers: Transfers | None = None


def compose(obj: Object, findings: Findings, *, now: float) -> dict[str, Any]:
    """Return the status that the object should have; equal to what it has when nothing is to be told."""
    status = dict(obj.get("status") or {})
    generation = int(obj["metadata"].get("generation", 1))
    rows_before = {str(row.get("region")): row for row in status.get("targets") or ()}
    rows = [
        _row(syncing, rows_before.get(syncing.link.way.target.region, {}), findings) for syncing in findings.targets
    ]
    status["observedGeneration"] = generation
    status["sourceRegion"] = findings.scope.source_region
    status["targetRegions"] = ",".join(way.target.region for way in findings.scope.ways)[:4096]
    status["targets"] = rows
    states = [State(row["state"]) for row in rows]
    status["state"] = (
        worst_state(states) if states else State.PAUSED if findings.scope.paused else State.UNKNOWN
    ).value
    status["inSyncTargets"] = f"{states.count(State.IN_SYNC)}/{len(findings.scope.ways)}"
    _put(status, "lagMilliseconds", _greatest([row.get("lagMilliseconds") for row in rows]))
    _put(status, "objects", _selected(findings, [row["objects"]["desired"] for row in rows if "objects" in row]))
    if findings.transfers is not None:
        carried = findings.transfers.rows(status.get("transferred") or (), findings.scope.ways)
        _put(status, "transferred", carried or None)
    verified = [row.get("lastVerifiedTime") for row in rows]
    _put(status, "lastVerifiedTime", min(filter(None, verified)) if verified and all(verified) else None)
    conditions = _conditions(findings, rows, states)
    volumes = storage_condition(_storage(findings))
    kept = [item for item in status.get("conditions") or () if volumes is not None or item.get("type") != CONDITION]
    conditions += [volumes] if volumes is not None else []
    status["conditions"] = merge(kept, conditions, now=rfc3339(now), generation=generation)
    return status


def _selected(findings: Findings, desired: Sequence[int]) -> int | None:
    """Objects selected in the source, from what the targets should have; spread over them, each is on several."""
    if findings.spec is None or findings.spec.strategy is not Strategy.SHARDED:
        return max(desired, default=None)
    carrying = sum(number > 0 for number in desired)
    return sum(desired) // max(1, min(findings.spec.sharding_replicas, carrying)) if desired else None


def facts_of(syncing: Syncing, findings: Findings) -> TargetFacts:
    """Return what the state of a target is judged by. Monotonic times are turned into wall times for it."""
    link = syncing.link
    targets = [item.target for item in link.tracked.values() if not item.target.absent]
    counts = _counts(link)
    digests = Digests.EQUAL if syncing.verified_at is not None else Digests.NEVER
    return TargetFacts(
        now=findings.wall,
        paused=link.stopped,
        broken=link.problem or next((item.problem for item in targets if item.problem), ""),
        all_failed=link.outcomes.all_failed(desired=counts.desired),
        counts=counts,
        lag=_lag(link, findings),
        digests=Digests.DIFFERENT if syncing.unequal else digests,
        verified_at=syncing.verified_at,
        prune_blocked=bool(syncing.pruner.blocked),
        verify_interval=link.spec.verify_interval,
        out_of_sync_after=link.spec.out_of_sync_after,
    )


def _lag(link: Link, findings: Findings) -> float | None:
    heard = [item.heard_at for item in link.origins() if not item.absent]
    if None in heard or not heard:
        return None
    oldest = link.work.oldest()
    shift = findings.wall - findings.monotonic
    return lag(
        now=findings.wall,
        oldest_pending=oldest + shift if oldest is not None else None,
        heard_at=min(at for at in heard if at is not None) + shift,
        frozen_at=findings.source_down_at,
    )


def _storage(findings: Findings) -> list[tuple[str, Storage]]:
    """What is known of volumes, by the region that gets them; without those that have none."""
    found = [(item.link.way.target.region, item.volumes.judge()) for item in findings.targets if item.volumes]
    return [(region, storage) for region, storage in found if storage is not None]


def _counts(link: Link) -> Counts:
    found = link.looker.counts
    present = (Outcome.IN_SYNC, Outcome.PENDING, Outcome.DRIFTED, Outcome.CONFLICTED, Outcome.FAILED)
    return Counts(
        desired=sum(found[outcome] for outcome in present),
        in_sync=found[Outcome.IN_SYNC],
        pending=found[Outcome.PENDING] + found[Outcome.DRIFTED],
        drifted=found[Outcome.DRIFTED],
        conflicted=found[Outcome.CONFLICTED],
        failed=found[Outcome.FAILED],
    )


def _row(syncing: Syncing, before: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    link = syncing.link
    facts = facts_of(syncing, findings)
    counts = facts.counts
    row: dict[str, Any] = {"region": link.way.target.region, "state": target_state(facts).value}
    _put(row, "lagMilliseconds", _shown_lag(facts.lag))
    if link.known:
        row["objects"] = {
            "desired": counts.desired,
            "inSync": counts.in_sync,
            "pending": counts.pending,
            "drifted": counts.drifted,
            "conflicted": counts.conflicted,
            "failed": counts.failed,
        }
    elif "objects" in before:
        row["objects"] = before["objects"]
    passed = max(filter(None, (link.passed_at, syncing.last_pass)), default=None)
    _put(row, "lastSyncTime", rfc3339(passed) if passed is not None else None)
    _put(row, "lastVerifiedTime", rfc3339(syncing.verified_at) if syncing.verified_at is not None else None)
    if syncing.token:
        row["syncToken"] = syncing.token
    storage = syncing.volumes.judge() if syncing.volumes is not None else None
    if storage is not None:
        moment = findings.wall if findings.source_down_at is None else min(findings.wall, findings.source_down_at)
        row["storage"] = storage_row(storage, before.get("storage") or {}, now=moment)
    errors = _errors(syncing)
    if errors:
        row["errors"] = errors
    return row


def _errors(syncing: Syncing) -> list[str]:
    link = syncing.link
    reflections = {item.problem for each in link.tracked.values() for item in (each.source, each.target)}
    general = [
        link.stopped,
        link.problem,
        syncing.pass_problem,
        syncing.pruner.blocked,
        syncing.pruner.problem,
        *link.writer.kept,
        *sorted(reflections),
    ]
    found = [text for text in dict.fromkeys(general) if text] + link.looker.messages()
    return [text[:MAX_ERROR] for text in found[:MAX_ERRORS]]


def _conditions(findings: Findings, rows: Sequence[Mapping[str, Any]], states: Sequence[State]) -> list[Condition]:
    return [
        _ready(findings),
        _in_sync(findings, rows, states),
        _source(findings),
        _verified(findings),
        _conflicts(findings),
        _prune(findings),
    ]


def _ready(findings: Findings) -> Condition:
    if findings.problem is not None:
        return findings.problem
    if findings.scope.problem is not None:
        return findings.scope.problem
    if findings.unserved:
        return Condition(
            "Ready", "False", "KindNotServed", f"the source knows no {', '.join(findings.unserved)} in namespaces"
        )
    schedule = next((item.pass_problem for item in findings.targets if item.pass_problem), "")
    if schedule:
        return Condition("Ready", "False", "InvalidSchedule", schedule)
    denied = next(
        (text for item in findings.targets for text in item.link.looker.messages() if "PlacementDenied" in text), ""
    )
    if denied:
        return Condition("Ready", "False", "PlacementDenied", denied)
    return Condition("Ready", "True", "Reconciled", "nothing is to be put right in the spec")


def _in_sync(findings: Findings, rows: Sequence[Mapping[str, Any]], states: Sequence[State]) -> Condition:
    if not states:
        return Condition("InSync", "Unknown", "NotStarted", findings.scope.paused or "nothing is copied yet")
    overall = worst_state(states)
    behind = [f"{row['region']} is {row['state']}" for row in rows if row["state"] != State.IN_SYNC.value]
    if overall is State.IN_SYNC:
        return Condition("InSync", "True", "InSync", "every target is equal to the source")
    unsure = overall in (State.UNKNOWN, State.PAUSED)
    return Condition("InSync", "Unknown" if unsure else "False", overall.value, ", ".join(behind))


def _source(findings: Findings) -> Condition:
    kind = "SourceReachable"
    if not findings.targets:
        return Condition(kind, "Unknown", "NotStarted", "nothing is copied yet")
    sources = [item.source for syncing in findings.targets for item in syncing.link.tracked.values()]
    problem = next((item.problem for item in sources if item.problem and not item.absent), "")
    if problem:
        return Condition(kind, "False", "Unreachable", problem)
    if any(item.heard_at is None and not item.absent for item in sources):
        return Condition(kind, "Unknown", "Connecting", "the source has not been listed yet")
    return Condition(kind, "True", "Watching", f"changes in {findings.scope.source_region} are seen as they come")


def _verified(findings: Findings) -> Condition:
    kind = "Verified"
    if not findings.targets:
        return Condition(kind, "Unknown", "NotStarted", "nothing is copied yet")
    unequal = [f"{item.link.way.target.region}: {', '.join(item.unequal)}" for item in findings.targets if item.unequal]
    if unequal:
        return Condition(kind, "False", "Different", f"digests differ in {'; '.join(unequal)}"[:1024])
    if any(item.verified_at is None for item in findings.targets):
        return Condition(kind, "Unknown", "Pending", "digests have not been compared yet")
    return Condition(kind, "True", "Equal", "the digests of every target equal the source's")


def _conflicts(findings: Findings) -> Condition:
    number = sum(item.link.looker.counts[Outcome.CONFLICTED] for item in findings.targets)
    if number:
        return Condition(
            "Conflicts", "True", "Conflicts", f"{number} objects are left alone: see status.targets[].errors"
        )
    return Condition("Conflicts", "False", "None", "no object is in conflict")


def _prune(findings: Findings) -> Condition:
    blocked = next((item.pruner.blocked for item in findings.targets if item.pruner.blocked), "")
    if blocked:
        return Condition("PruneBlocked", "True", "Braked", blocked)
    return Condition("PruneBlocked", "False", "None", "no deletion is held back")


def announce(recorder: Recorder, before: Object, after: Object) -> None:
    """Post an event when the state that is shown has changed for better or worse."""
    was, now = str((before.get("status") or {}).get("state")), str((after.get("status") or {}).get("state"))
    quiet = {State.SYNCING.value, State.UNKNOWN.value}
    if was == now or now in quiet or (was in quiet and now == State.IN_SYNC.value and _has_synced(before)):
        return
    rows: list[dict[str, Any]] = after["status"].get("targets") or []
    row = next((item for item in rows if item["state"] == now), {})
    why = "; ".join(row.get("errors") or ())[:512]
    kind = "Normal" if now in (State.IN_SYNC.value, State.PAUSED.value) else "Warning"
    note = f"Replication is {now}, was {was}" + (f": {why}" if why else "")
    recorder.event(after, kind=kind, reason=f"Replication{now}", action="Replicate", note=note[:1000])


def measure(metrics: Metrics, findings: Findings) -> None:
    """Bring the gauges up to date."""
    for syncing in findings.targets:
        facts, spec = facts_of(syncing, findings), syncing.link.spec
        labels = {"namespace": spec.namespace, "policy": spec.name, "region": syncing.link.way.target.region}
        lag_seconds = facts.lag if facts.lag is not None else nan
        age = facts.now - facts.verified_at if facts.verified_at is not None else nan
        metrics.gauge("regent_replication_lag_seconds", lag_seconds, **labels)
        metrics.gauge("regent_replication_verification_age_seconds", age, **labels)
        metrics.gauge("regent_replication_in_sync", float(target_state(facts) is State.IN_SYNC), **labels)
        if syncing.volumes is not None:
            storage = syncing.volumes.judge()
            known = storage.lag(facts.now) if storage is not None else None
            metrics.gauge("regent_replication_storage_lag_seconds", known if known is not None else nan, **labels)
        for item in fields(facts.counts):
            number = getattr(facts.counts, item.name)
            state = item.name.replace("_", " ")
            metrics.gauge("regent_replication_objects", number, state=state, **labels)


def _has_synced(obj: Object) -> bool:
    return any(row.get("lastVerifiedTime") for row in (obj.get("status") or {}).get("targets") or ())


def _shown_lag(seconds: float | None) -> int | None:
    """The lag in steps of 1-2-5, upwards."""
    if seconds is None:
        return None
    seconds = max(seconds, LEAST_LAG)
    steps = (base * 10.0**power for power in range(0, 8) for base in (1, 2, 5))
    return int(next((step for step in steps if step >= seconds), 1e8) * 1000)


def _greatest(lags: Iterable[int | None]) -> int | None:
    found = list(lags)
    known = [lag for lag in found if lag is not None]
    return max(known) if known and len(known) == len(found) else None


def _put(target: dict[str, Any], name: str, value: Any) -> None:
    """Absent means unknown."""
    if value is None:
        target.pop(name, None)
    else:
        target[name] = value
