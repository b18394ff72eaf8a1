"""Asking for a run: the Failover object, and finding the one that was asked for before.

The name of the object is worked out from what is asked and from where the policy stands (its epoch). The same command
given twice, also at the same moment or after an answer that was lost, thus comes to the same object.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regent.cli.fields import name_of, value_at
from regent.domain.errors import AlreadyExistsError, ConflictError, UnavailableError
from regent.engine.ports import Cluster, Object
from regent.engine.records import POLICY_LABEL, is_automatic, is_over
from regent.engine.resources import FAILOVERS

LETTERS = "bcdfghjkmnpqrstvwxyz"
"""Of names: without vowels no word comes out, without digits none looks like the number of an automatic run."""
NAMES = 200
"""Names that are tried for one request: each run that ended keeps its own."""
CONFLICTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is asked of a policy. Texts are "" and mappings empty where nothing is asked."""

    source: str
    to: str = ""
    type: str = "Failover"
    transition: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    reason: str = ""
    schedule_time: str = ""
    """RFC 3339; "": at once."""
    relative: bool = False
    """The time was given as a span from now: it differs with every use, and any time matches."""
    force: bool = False
    accept_data_loss: bool = False

    @property
    def control(self) -> dict[str, bool]:
        """The fields of `spec.control` that are asked for."""
        asked = {"force": self.force, "acceptDataLoss": self.accept_data_loss}
        return {name: True for name, wanted in asked.items() if wanted}

    def manifest(self, policy: Object, number: int) -> Object:
        """Write the Failover object; `number` tells it from earlier ones that asked the same."""
        spec: dict[str, Any] = {"policyRef": {"name": name_of(policy)}, "type": self.type, "from": self.source}
        optional = {
            "to": self.to,
            "transition": dict(self.transition),
            "dryRun": self.dry_run,
            "reason": self.reason,
            "scheduleTime": self.schedule_time,
            "control": self.control,
        }
        spec.update({name: value for name, value in optional.items() if value})
        return {
            "apiVersion": FAILOVERS.api_version,
            "kind": FAILOVERS.kind,
            "metadata": {
                "namespace": policy["metadata"]["namespace"],
                "name": f"{name_of(policy)}-{self._digest(policy, number)}",
                "labels": {POLICY_LABEL: name_of(policy)},
            },
            "spec": spec,
        }

    def _digest(self, policy: Object, number: int) -> str:
        asked = [self.source, self.to, self.type, self.dry_run, self.schedule_time]
        state = [policy["metadata"].get("uid", ""), value_at(policy, ".status.epoch") or 0, number]
        rest = int.from_bytes(hashlib.sha256(json.dumps([asked, state]).encode()).digest()[:8])
        letters = []
        for _ in range(8):
            rest, index = divmod(rest, len(LETTERS))
            letters.append(LETTERS[index])
        return "".join(letters)

    def is_asked_by(self, run: Object) -> bool:
        """Tell whether a run that has not ended does what is asked, so that it is followed and no other is made."""
        if is_over(run) or bool(value_at(run, ".spec.dryRun")) != self.dry_run:
            return False
        scheduled = str(value_at(run, ".spec.scheduleTime") or "")
        if bool(scheduled) != bool(self.schedule_time) or (scheduled != self.schedule_time and not self.relative):
            return False
        if is_automatic(run) and not value_at(run, ".status.epoch"):
            # Before it commits it obeys rules that a person's run does not, and it gives way to that one.
            return False
        to = str(value_at(run, ".spec.to") or value_at(run, ".status.plan.chosen") or "")
        return value_at(run, ".spec.from") == self.source and (not self.to or to == self.to)


async def request_run(cluster: Cluster, policy: Object, runs: Iterable[Object], asked: RunRequest) -> Object:
    """Return the unfinished run that does what is asked; make one when there is none.

    Args:
        cluster: the hub.
        policy: whose run it is.
        runs: the Failovers of the policy's namespace, as just listed.
        asked: what the run is to do.
    """
    own = [run for run in runs if value_at(run, ".spec.policyRef.name") == name_of(policy)]
    found = next((run for run in own if asked.is_asked_by(run)), None)
    if found is not None:
        return await _with_control(cluster, found, asked.control)
    for number in range(NAMES):
        made = await _create(cluster, asked.manifest(policy, number))
        if asked.is_asked_by(made):
            return await _with_control(cluster, made, asked.control)
    raise ConflictError(f"{NAMES} Failovers of {name_of(policy)} have asked for this already; delete old ones")


async def _create(cluster: Cluster, manifest: Object) -> Object:
    """Create the object, or read the one that has its name."""
    for last in (False, True):
        try:
            return await cluster.create(FAILOVERS, manifest)
        except AlreadyExistsError:
            return await cluster.get(FAILOVERS, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        except UnavailableError:
            # The object may be there although no answer came; the second attempt finds it by its name.
            if last:
                raise
    raise AssertionError("the loop returns or raises")


async def _with_control(cluster: Cluster, run: Object, control: Mapping[str, bool]) -> Object:
    """Add what the person allows to the run; nothing is taken back."""
    return await change_control(cluster, run, control) if control else run


async def change_control(cluster: Cluster, run: Object, control: Mapping[str, Any]) -> Object:
    """Write fields of `spec.control`, whatever else changes in the object meanwhile; nothing when they are so already.

    Raises:
        ConflictError: others kept writing to it.
    """
    for _ in range(CONFLICTS):
        present = value_at(run, ".spec.control") or {}
        if all(present.get(name) == value for name, value in control.items()):
            return run
        changed = {**run, "spec": {**run["spec"], "control": {**present, **control}}}
        try:
            return await cluster.replace(FAILOVERS, changed)
        except ConflictError:
            # The operator writes the status all the time; what the person wants does not depend on it.
            run = await cluster.get(FAILOVERS, run["metadata"]["namespace"], name_of(run))
    raise ConflictError(f"Failover {name_of(run)} changes too often to be written; try again")
