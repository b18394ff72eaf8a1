"""How workloads and virtual machines sleep in a standby, and how they are woken.

What a copy was in its source is noted in an annotation on the copy (as Stork does with its migrationReplicas), so that
waking needs nothing but the copy. The notes are the same as those of the promotion steps, which wake them as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from regent.domain.failover import fence
from regent.domain.replication import marks
from regent.domain.replication.kinds import (
    AUTOSCALER,
    CRON_JOB,
    DATA_VOLUME,
    DEPLOYMENT,
    JOB,
    REPLICATION_SOURCE,
    STATEFUL_SET,
    VIRTUAL_MACHINE,
    VOLUME_REPLICATION,
    kind_of,
)
from regent.domain.replication.model import Object, Standby

HALTED, ALWAYS = "Halted", "Always"
PRIMARY, SECONDARY = "primary", "secondary"
CLAIM_ADOPTION = "cdi.kubevirt.io/allowClaimAdoption"
"""CDI: a DataVolume takes over a claim of its name, which the replication of volumes brought, instead of filling a new
one. KubeVirt puts it on the DataVolumes that it makes of a machine's templates by itself."""

_WORKLOADS = frozenset({DEPLOYMENT.group_kind, STATEFUL_SET.group_kind})
_JOBS = frozenset({CRON_JOB.group_kind, JOB.group_kind})


def essence(normalised: Mapping[str, Any]) -> Object:
    """Return what an object says whether it sleeps or not: for telling whether anybody but Regent changed it."""
    body = copy.deepcopy(dict(normalised))
    asleep(body, Standby.SCALED0, autoscaled=False, remembered={})
    metadata = body.get("metadata")
    notes = metadata.get("annotations") if isinstance(metadata, dict) else None
    if isinstance(metadata, dict) and isinstance(notes, dict):
        kept = {name: text for name, text in notes.items() if name not in marks.ORIGINALS | {CLAIM_ADOPTION}}
        metadata["annotations"] = kept
        if not kept:
            del metadata["annotations"]
    return body


def asleep(body: Object, standby: Standby, *, autoscaled: bool, remembered: Mapping[str, str]) -> None:
    """Put a copy to sleep, in place, as the policy's standby says.

    Scaled0 and Suspended differ in nothing that a kind does not know: no Deployment can be suspended and no CronJob be
    scaled, so both take what the kind has. A volume is never primary in two regions, whatever the standby, and nothing
    but the source's region sends the data of volumes: a standby would overwrite what is newer with what it was sent.

    Args:
        body: normalised, with its own `metadata`.
        standby: of the policy.
        autoscaled: an autoscaler sets the replicas: with Running they are the target's own business.
        remembered: annotations of the source: what a source that was itself put to sleep was before.
    """
    kind, spec = kind_of(body).group_kind, body.get("spec")
    if not isinstance(spec, dict):
        return
    if kind == VOLUME_REPLICATION.group_kind:
        state = str(spec.get("replicationState") or PRIMARY)
        _note(body, marks.REPLICATION_STATE, remembered if state == SECONDARY else {}, state)
        spec["replicationState"] = SECONDARY
    if kind == REPLICATION_SOURCE.group_kind:
        paused = spec.get("paused") is True
        _note(body, marks.PAUSED, remembered if paused else {}, "true" if paused else "false")
        spec["paused"] = True
    if kind == DATA_VOLUME.group_kind:
        _note(body, CLAIM_ADOPTION, {}, "true")
    if standby is Standby.RUNNING:
        if kind in _WORKLOADS and autoscaled:
            spec.pop("replicas", None)
        return
    if kind in _WORKLOADS:
        _note(body, marks.REPLICAS, {}, str(_replicas(spec)))
        spec["replicas"] = 0
    elif kind in _JOBS:
        _note(body, marks.SUSPEND, {}, "true" if spec.get("suspend") is True else "false")
        spec["suspend"] = True
    elif kind == AUTOSCALER.group_kind and spec.get("minReplicas") == 0:
        # An autoscaler leaves a workload at zero alone, unless zero is a number that it may choose itself.
        _note(body, marks.MIN_REPLICAS, {}, "0")
        spec["minReplicas"] = 1
    elif kind == VIRTUAL_MACHINE.group_kind:
        _note(body, marks.RUN_STRATEGY, remembered if _strategy(spec) == HALTED else {}, _strategy(spec))
        spec.pop("running", None)
        spec["runStrategy"] = HALTED


def retain_original(body: Object, source: Mapping[str, Any], target: Mapping[str, Any] | None) -> None:
    """Keep what the copy noted already, in place, where a failover run has just put the source to sleep.

    A run scales the source to zero before the last changes are copied. Without this the copy would learn from it that
    it has to wake up with nothing running.
    """
    if target is None or fence.ANNOTATION not in marks.annotations_of(source):
        return
    noted, kept = marks.annotations_of(body), marks.annotations_of(target)
    for name, at_rest in ((marks.REPLICAS, "0"), (marks.SUSPEND, "true"), (marks.RUN_STRATEGY, HALTED)):
        if noted.get(name) == at_rest and kept.get(name):
            body["metadata"]["annotations"][name] = kept[name]


def retain_rest(body: Object, present: Mapping[str, Any]) -> None:
    """Take over, in place, how the object that is there rests or runs: replicas, suspension, run strategy, role of a
    volume. For copying content back to a side whose workloads must not be started or stopped by it."""
    spec, own = body.get("spec"), present.get("spec")
    if not isinstance(spec, dict) or not isinstance(own, Mapping):
        return
    kind = kind_of(body).group_kind
    fields: tuple[str, ...] = ()
    if kind in _WORKLOADS:
        fields = ("replicas",)
    elif kind in _JOBS:
        fields = ("suspend",)
    elif kind == VIRTUAL_MACHINE.group_kind:
        fields = ("running", "runStrategy")
    elif kind == VOLUME_REPLICATION.group_kind:
        fields = ("replicationState",)
    elif kind == REPLICATION_SOURCE.group_kind:
        fields = ("paused",)
    for name in fields:
        spec.pop(name, None)
        if name in own:
            spec[name] = own[name]


def woken(obj: Mapping[str, Any]) -> Object | None:
    """Return the merge patch that wakes a copy, or None when nothing is noted on it. See `shape.awake`."""
    noted, spec = marks.annotations_of(obj), obj.get("spec")
    if not isinstance(spec, Mapping):
        return None
    changes: Object = {}
    read: tuple[tuple[str, Callable[[str, Mapping[str, Any]], Object]], ...] = (
        (marks.REPLICAS, _wake_replicas),
        (marks.SUSPEND, lambda text, _: {"suspend": text == "true"}),
        (marks.MIN_REPLICAS, lambda text, _: {"minReplicas": 0} if text == "0" else {}),
        (marks.RUN_STRATEGY, _wake_machine),
        (marks.PAUSED, lambda text, _: {"paused": text == "true"}),
        (marks.REPLICATION_STATE, lambda text, _: {"replicationState": text} if text in (PRIMARY, SECONDARY) else {}),
    )
    present = [(name, wake) for name, wake in read if name in noted]
    if not present:
        return None
    for name, wake in present:
        changes.update(wake(noted[name], spec))
    patch: Object = {"metadata": {"annotations": {name: None for name, _ in present}}}
    return {**patch, "spec": changes} if changes else patch


def _wake_replicas(text: str, spec: Mapping[str, Any]) -> Object:
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 1
    return {"replicas": wanted} if _replicas(spec) == 0 else {}


def _wake_machine(text: str, spec: Mapping[str, Any]) -> Object:
    if _strategy(spec) != HALTED:
        return {}
    known = ("Always", "RerunOnFailure", "Manual", "Halted", "Once")
    return {"runStrategy": text if text in known else ALWAYS}


def _replicas(spec: Mapping[str, Any]) -> int:
    """The API's default is 1."""
    found = spec.get("replicas")
    return found if isinstance(found, int) and not isinstance(found, bool) else 1


def _strategy(spec: Mapping[str, Any]) -> str:
    """`running` is the older form of the run strategy; exactly one of them is set."""
    found = spec.get("runStrategy")
    if isinstance(found, str) and found:
        return found
    return ALWAYS if spec.get("running") is True else HALTED


def _note(body: Object, name: str, remembered: Mapping[str, str], value: str) -> None:
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return
    annotations = metadata.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    metadata["annotations"] = {**kept, name: remembered.get(name, value)}
