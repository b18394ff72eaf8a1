"""What a run has left behind: the final state, and how everything got there, without times and names.

Two runs of one flavour have equal ledgers, whatever happened to their leaders on the way. The history is the stronger
half: it shows an effect that was made twice, or made and undone, or made by a leader whose time was over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.controlplane import ApiClient, Cluster
from testbed.crash import history
from testbed.scene import Scene

Json = dict[str, Any]
_RANK = {"Pending": 0, "Running": 1, "Succeeded": 2, "Skipped": 2, "Failed": 2, "Undone": 3}
_DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
_CRON_JOBS = "/apis/batch/v1/namespaces/{}/cronjobs"


@dataclass(frozen=True)
class Ledger:
    """Opened before a run; read after it."""

    scene: Scene
    members: Sequence[Cluster]
    since: Mapping[tuple[int, str], int]
    first: Mapping[tuple[int, str], Sequence[Json]]

    @classmethod
    def open(cls, scene: Scene, members: Sequence[Cluster]) -> Ledger:
        """Remember where the history of this run begins."""
        since, first = {}, {}
        for place, api, path in _collections(scene, members):
            # The version before the objects: what is written in between is in both, which no comparison minds.
            since[place, path] = history.now(api, path)
            first[place, path] = api.get(path)["items"]
        return cls(scene, members, since, first)

    def read(self) -> Json:
        """The final state and the history; raises AssertionError where the history is impossible in itself."""
        text = json.dumps({"final": self._final(), "history": self._history()}, sort_keys=True)
        found: Json = json.loads(text.replace(f"{self.scene.namespace}-", ""))
        return found

    def _final(self) -> Json:
        scene = self.scene
        final = {"policy": _policy(scene.policy()), "runs": [_run(run) for run in scene.runs()]}
        route = scene.route()
        final["route"] = {"weights": scene.weights(), **_mark(route)}
        for place, member in enumerate(self.members):
            web = member.api.get(f"{_DEPLOYMENTS.format(scene.namespace)}/web")
            nightly = member.api.get(f"{_CRON_JOBS.format(scene.namespace)}/nightly")
            final[f"member {place}"] = {
                "web": {"replicas": web["spec"]["replicas"], "left": web["status"].get("replicas", 0), **_mark(web)},
                "nightly": {"suspend": nightly["spec"]["suspend"], **_mark(nightly)},
            }
        return final

    def _history(self) -> Json:
        found = {}
        for place, api, path in _collections(self.scene, self.members):
            key = (place, path)
            versions = [*self.first[key], *history.versions(api, path, since=self.since[key])]
            kind = path.rpartition("/")[2]
            _claim_forward(kind, versions)
            found[f"{place} {kind}"] = _changes(_TOLD[kind](obj) for obj in versions)
        return found


def _collections(scene: Scene, members: Sequence[Cluster]) -> Iterable[tuple[int, ApiClient, str]]:
    hub = scene.cluster.api
    for path in (scene.path("failoverpolicies"), scene.path("failovers"), scene.route_path.rpartition("/")[0]):
        yield 0, hub, path
    for place, member in enumerate(members, start=1):
        for form in (_DEPLOYMENTS, _CRON_JOBS):
            yield place, member.api, form.format(scene.namespace)


def _changes(told: Iterable[Any]) -> list[Any]:
    """The sequence without repetitions: a new version may differ in what is not told."""
    found: list[Any] = []
    for item in told:
        if not found or found[-1] != item:
            found.append(item)
    return found


def _tell_policy(policy: Json) -> Any:
    status = policy.get("status") or {}
    return [status.get("epoch"), status.get("activeRegion"), "operation" in status]


def _tell_run(run: Json) -> Any:
    """A successor that does not know yet how a region is may have the run wait a moment before it commits."""
    phase = (run.get("status") or {}).get("phase")
    return [run["metadata"]["name"], None if phase in ("Pending", "Blocked") else phase]


def _tell_route(route: Json) -> Any:
    [rule] = route["spec"]["rules"]
    return {backend["name"]: backend.get("weight", 1) for backend in rule["backendRefs"]}


_TOLD = {
    "failoverpolicies": _tell_policy,
    "failovers": _tell_run,
    "httproutes": _tell_route,
    "deployments": lambda obj: [obj["spec"]["replicas"]],
    "cronjobs": lambda obj: [obj["spec"]["suspend"]],
}


def _claim_forward(kind: str, versions: Sequence[Json]) -> None:
    """Fences rise, epochs rise, steps go forward: a version that goes back was written by somebody of yesterday."""
    last: dict[str, Any] = {}
    for obj in versions:
        uid, fence = obj["metadata"]["uid"], _fence(obj)
        assert fence >= last.get(uid, ()), f"the fence of {kind} went back from {last[uid]} to {fence}"
        last[uid] = fence
        status = obj.get("status") or {}
        if kind == "failoverpolicies":
            assert status.get("epoch", 0) >= last.get("epoch", 0), "an epoch went back"
            last["epoch"] = status.get("epoch", 0)
        for step in status.get("steps") or () if kind == "failovers" else ():
            key = f"{uid} {step['attempt']} {step['name']}"
            assert _RANK[step["state"]] >= last.get(key, 0), f"step {step['name']} went back to {step['state']}"
            last[key] = _RANK[step["state"]]


def _fence(obj: Json) -> tuple[int, ...]:
    text = (obj["metadata"].get("annotations") or {}).get("regent.dev/fence", "")
    return tuple(int(part) for part in text.split(".") if part)


def _mark(obj: Json) -> Json:
    """How often the spec was really changed, and by which step; not by which of the leaders."""
    fence = _fence(obj)
    return {"generation": obj["metadata"]["generation"], "fence": [fence[0], fence[2]] if fence else []}


def _conditions(obj: Json) -> Json:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return {item["type"]: [item["status"], item["reason"]] for item in conditions}


def _policy(policy: Json) -> Json:
    status = policy["status"]
    plain = ("phase", "epoch", "activeRegion", "active", "activeRegions", "distribution", "totals", "runNumber")
    last = {key: (status.get("lastFailover") or {}).get(key) for key in ("name", "from", "to", "reason", "result")}
    return {
        **{key: status.get(key) for key in (*plain, "failbackRegion", "operation", "rejoin")},
        "conditions": _conditions(policy),
        "targets": [[row["target"], row.get("epoch"), row["verification"]] for row in status.get("targets") or ()],
        "lastFailover": last,
        "finalizers": policy["metadata"].get("finalizers") or [],
    }


def _run(run: Json) -> Json:
    status = run.get("status") or {}
    plan = status.get("plan") or {}
    return {
        "name": run["metadata"]["name"],
        "spec": {key: run["spec"].get(key) for key in ("type", "from", "to", "policyRef")},
        **{key: status.get(key) for key in ("phase", "epoch", "trigger", "attempts", "currentStep", "requestedBy")},
        "plan": {key: plan.get(key) for key in ("chosen", "before", "after", "planned", "transition", "order")},
        "steps": [[step["attempt"], step["name"], step["state"]] for step in status.get("steps") or ()],
        "point": (status.get("pointOfNoReturn") or {}).get("kind"),
        "conditions": _conditions(run),
        "finalizers": run["metadata"].get("finalizers") or [],
    }


def difference(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where two ledgers differ, in words; [] when they are equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        rows = []
        for key in sorted(expected.keys() | found.keys()):
            rows += difference(expected.get(key), found.get(key), f"{where}.{key}" if where else key)
        return rows
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        rows = []
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            rows += difference(one, other, f"{where}[{place}]")
        return rows
    return [] if expected == found else [f"{where}: {found!r} instead of {expected!r}"]
