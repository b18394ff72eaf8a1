"""The timeline of one move of traffic, from what clients, watches and the run's own journal saw."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

from testbed.demo.observer import Observer, Sighting
from testbed.load import Timeline

Json = dict[str, Any]
QUIET = frozenset({"Accept", "Observe", "Recheck", "Decide", "Snapshot", "Approve", "Stabilize"})
"""Steps that a timeline leaves out: what is seen and decided before anything is done."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A row of the timeline: when it happened (monotonic seconds), and what."""

    time: float
    what: str
    source: str


def tell(
    *, observer: Observer, clients: Timeline, run: Json, source: str, to: str, since: float, fault: str
) -> list[Moment]:
    """Every moment of a move that is known, in order; `since` is when the cause happened."""
    moments = [Moment(since, fault, "demo")] if fault else []
    status = run["status"]
    add = moments.append
    if status.get("detectionTime"):
        add(Moment(monotonic_of(status["detectionTime"]), f"first failed probe of {source}", "journal"))
    verdict = observer.first("regions", lambda obj: _is(obj, source) and _health(obj) == "Unreachable", since=since)
    if verdict is not None and fault:
        add(Moment(verdict.time, f"verdict: {source} is Unreachable", "watch"))
    steps = {step["name"]: step for step in status.get("steps", [])}
    reason = f"decided: {status.get('trigger')}, {source} → {to}, run {run['metadata']['name']}"
    add(Moment(monotonic_of(status["startTime"]), reason, "journal"))
    if (steps.get("Commit") or {}).get("completionTime"):
        add(Moment(monotonic_of(steps["Commit"]["completionTime"]), f"committed: epoch {status['epoch']}", "journal"))
    written = observer.first("httproutes", lambda obj: _weight_on(obj, to), since=since)
    if written is not None:
        add(Moment(written.time, f"weights written: {to} has all", "watch"))
        add_accepted(moments, observer, written)
    answered = clients.first_good(to, after=since)
    if answered is not None:
        add(Moment(answered.done, f"first good answer from {to}", "client"))
    add(Moment(monotonic_of(status["completionTime"]), f"run {status['phase']}: proved through the gateway", "journal"))
    return sorted(moments, key=lambda moment: moment.time)


def add_accepted(moments: list[Moment], observer: Observer, written: Sighting) -> None:
    """The gateway's own word that it took the weights; it says so before it uses them."""
    generation = written.object["metadata"]["generation"]
    accepted = observer.first("httproutes", lambda obj: _accepted(obj, generation), since=written.time)
    if accepted is not None:
        moments.append(Moment(accepted.time, "gateway accepted the weights", "watch"))


def lines(moments: list[Moment], *, start: float | None = None) -> list[str]:
    """The timeline as text, in milliseconds after `start`, or after its first row."""
    start = moments[0].time if start is None else start
    return [f"  {(moment.time - start) * 1000:8.0f} ms  {moment.what:<62} ({moment.source})" for moment in moments]


def monotonic_of(text: str) -> float:
    """An RFC 3339 time on this machine's monotonic clock."""
    wall = dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return wall - time.time() + time.monotonic()


def _is(obj: Json, name: str) -> bool:
    return bool(obj["metadata"]["name"] == name)


def _health(obj: Json) -> str:
    return str((obj.get("status") or {}).get("health", ""))


def _weight_on(route: Json, region: str) -> bool:
    references = route["spec"]["rules"][0]["backendRefs"]
    return all((entry["weight"] > 0) is entry["name"].endswith(f"-{region}") for entry in references)


def _accepted(route: Json, generation: int) -> bool:
    parents: list[Json] = (route.get("status") or {}).get("parents") or []
    conditions = [condition for parent in parents for condition in parent["conditions"]]
    return any(
        item["type"] == "Accepted" and item["status"] == "True" and item["observedGeneration"] >= generation
        for item in conditions
    )


def summary(clients: Timeline, *, since: float, until: float) -> str:
    """What the clients lost in a span of time."""
    sent = clients.between(since, until)
    lost = f"  {sent.lost} of {len(sent.records)} requests lost"
    return f"{lost}; the last of them was sent {sent.outage(since):.2f} s after the fault" if sent.lost else lost
