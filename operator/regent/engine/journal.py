"""The journal of a run: `Failover.status.steps`, as pure edits of the status.

The order of steps is the order of the field: evidence, plan, snapshot, one commit, isolate, promote, shift, finish. A
step is written as Running before its effect and as Succeeded after the effect was observed, so that whoever finds the
run later knows where it stands. Steps without an effect of their own are written together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from regent.domain.conditions import Condition, merge

FINISHED = frozenset({"Succeeded", "Skipped"})


class Journal:
    """A status under edit. `status` is a copy that the caller writes back when it is done.

    Args:
        run: the Failover object as read.
        now: time of the edits, RFC 3339 with microseconds: steps of a run lie milliseconds apart.
    """

    def __init__(self, run: Mapping[str, Any], *, now: str) -> None:
        self.status: dict[str, Any] = copy.deepcopy(dict(run.get("status") or {}))
        self._generation = int(run["metadata"].get("generation", 1))
        self.now = now
        self.status["observedGeneration"] = self._generation

    def step(self, name: str, state: str, message: str = "", *, attempt: int = 1) -> Journal:
        """Record that step `name` is in `state`."""
        steps: list[dict[str, Any]] = self.status.setdefault("steps", [])
        entry = next((item for item in steps if item["name"] == name and item["attempt"] == attempt), None)
        if entry is None:
            entry = {"attempt": attempt, "name": name, "state": "Pending", "tries": 0}
            steps.append(entry)
        if state != "Skipped" and "startTime" not in entry:
            entry["startTime"] = self.now
        begins = state == "Running" and entry["state"] != "Running"
        if begins or (state == "Succeeded" and entry["state"] == "Pending"):
            entry["tries"] = int(entry["tries"]) + 1
        if state in FINISHED or state == "Failed":
            entry["completionTime"] = self.now
        entry["state"] = state
        if message:
            entry["message"] = message[:1024]
        self.status["currentStep"] = name
        return self

    def applied(self, name: str, *, attempt: int = 1) -> Journal:
        """Record that the effect of a step that runs has been asked for; a later try counts."""
        for item in self.status.get("steps") or ():
            if item["name"] == name and item["attempt"] == attempt:
                item["appliedTime"] = self.now
        return self

    def condition(self, kind: str, status: str, reason: str, message: str = "") -> Journal:
        """Set a condition."""
        self.status["conditions"] = merge(
            self.status.get("conditions") or [],
            [Condition(kind, status, reason, message)],
            now=self.now,
            generation=self._generation,
        )
        return self

    def put(self, **fields: Any) -> Journal:
        """Set top-level fields of the status."""
        self.status.update(fields)
        return self


def finished(run: Mapping[str, Any], name: str) -> bool:
    """Whether step `name` of the run is journaled as done."""
    steps = (run.get("status") or {}).get("steps") or ()
    return any(item["name"] == name and item["state"] in FINISHED for item in steps)
