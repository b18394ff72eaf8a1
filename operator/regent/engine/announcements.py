"""What a policy and its runs have to announce, read off their statuses.

Nothing remembers what was sent: an announcement follows from what stands in the API, with an identifier made of when
it came about. So a successor that finds the same status makes the same announcement with the same identifier, which is
how a crash loses none and receivers can drop repeats. What lies further back than `RECENT` was told by whoever led
then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from regent.domain.conditions import find
from regent.domain.failover.model import PolicySpec
from regent.engine.cloud_events import PREFIX
from regent.engine.ports import Object
from regent.engine.receivers import message_id
from regent.engine.records import is_automatic, is_over, status_of, time_of

RECENT = 600.0
"""Seconds for which something is announced anew by a process that has not announced it yet."""


class Announced(Enum):
    """What is announced; the values are the API's."""

    STARTED = "Started"
    BLOCKED = "Blocked"
    ACTION_REQUIRED = "ActionRequired"
    COMPLETED = "Completed"

    @property
    def type(self) -> str:
        """Type of the CloudEvent."""
        return f"{PREFIX}.{'action-required' if self is Announced.ACTION_REQUIRED else self.value.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One thing that came about. `time` is seconds since the epoch, `subject` the run's name or the policy's."""

    kind: Announced
    identifier: str
    subject: str
    time: float
    data: Mapping[str, Any] = field(default_factory=dict)


def announcements(policy: Object, spec: PolicySpec, runs: Iterable[Object], *, now: float) -> Sequence[Announcement]:
    """Return what came about within `RECENT`, oldest first.

    Args:
        policy: as it stands in the API.
        spec: the same, read.
        runs: the policy's Failovers.
        now: seconds since the epoch.
    """
    found = [*_of_policy(policy, spec), *(item for run in runs for item in _of_run(spec, run, policy))]
    return sorted((item for item in found if now - item.time <= RECENT), key=lambda item: item.time)


def _of_policy(policy: Object, spec: PolicySpec) -> Iterator[Announcement]:
    status = status_of(policy)
    held, since = _condition(status, "Progressing"), time_of(status.get("heldSince"))
    if since is not None and status.get("operation") is None:
        yield _lasting(Announced.BLOCKED, spec, held, since)
    action = _condition(status, "ActionRequired")
    since = time_of(action.get("lastTransitionTime"))
    if action.get("status") == "True" and since is not None:
        yield _lasting(Announced.ACTION_REQUIRED, spec, action, since)


def _lasting(kind: Announced, spec: PolicySpec, condition: Mapping[str, Any], since: float) -> Announcement:
    reason = str(condition.get("reason", ""))
    return Announcement(
        kind=kind,
        identifier=message_id(spec.uid, kind.value, reason, str(since)),
        subject=spec.name,
        time=since,
        data={"reason": reason, "message": str(condition.get("message", ""))},
    )


def _of_run(spec: PolicySpec, run: Object, policy: Object) -> Iterator[Announcement]:
    status, asked = status_of(run), run.get("spec") or {}
    if asked.get("dryRun") or asked.get("type") == "Drill":
        return
    started = _committed(status)
    if started is not None:
        yield _turn(Announced.STARTED, spec, run, started)
    ended = time_of(status.get("completionTime"))
    # What Regent began and nobody noticed, because it never committed, is no news; what a person asked for is.
    if is_over(run) and ended is not None and (started is not None or not is_automatic(run)):
        yield _turn(Announced.COMPLETED, spec, run, ended)
    ready = _condition(status, "Ready")
    since = time_of(ready.get("lastTransitionTime"))
    shown = _condition(status_of(policy), "Progressing").get("reason")
    # A run that waits for what holds its policy is told of as the policy's hold.
    if status.get("phase") == "Blocked" and since is not None and ready.get("reason") != shown:
        yield _turn(Announced.BLOCKED, spec, run, since, about=str(ready.get("reason", "")))


def _turn(kind: Announced, spec: PolicySpec, run: Object, time: float, *, about: str = "") -> Announcement:
    uid = run["metadata"]["uid"]
    moment = (str(time),) if about else ()  # a run starts and ends once, and may be blocked many times
    return Announcement(
        kind=kind,
        identifier=message_id(spec.uid, uid, kind.value, about, *moment),
        subject=run["metadata"]["name"],
        time=time,
        data=_run_data(run),
    )


def _run_data(run: Object) -> dict[str, Any]:
    asked, status = run.get("spec") or {}, status_of(run)
    plan = status.get("plan") or {}
    conditions = status.get("conditions") or ()
    shown = find(conditions, "Succeeded" if is_over(run) else "Ready") or {}
    data = {
        "run": {
            "name": run["metadata"]["name"],
            "uid": run["metadata"]["uid"],
            "requestedBy": str(status.get("requestedBy") or ""),
        },
        "type": asked.get("type"),
        "trigger": status.get("trigger"),
        "phase": status.get("phase"),
        "reason": shown.get("reason"),
        "message": shown.get("message"),
        "from": asked.get("from"),
        "to": plan.get("chosen"),
        "before": plan.get("before"),
        "after": plan.get("after"),
        "epoch": status.get("epoch"),
        **{name: status.get(name) for name in ("startTime", "detectionTime", "completionTime")},
        "durationMilliseconds": status.get("durationMilliseconds"),
        "estimatedDataLoss": status.get("estimatedDataLoss"),
    }
    return {name: value for name, value in data.items() if value not in (None, "")}


def _committed(status: Mapping[str, Any]) -> float | None:
    """When the run committed; None when it has not."""
    done = (item for item in status.get("steps") or () if item["name"] == "Commit" and item["state"] == "Succeeded")
    return min((time for item in done if (time := time_of(item.get("completionTime"))) is not None), default=None)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return find(status.get("conditions") or (), kind) or {}
