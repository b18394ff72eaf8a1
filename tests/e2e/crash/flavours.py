"""The kinds of runs that are cut at every boundary, and the scenes that they are played in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.controlplane import ControlPlane
from testbed.scene import Scene, eventually, failover
from tests.e2e.conftest import Stage
from tests.e2e.members import STEPS, join, state, workloads

GRADUAL = {"type": "Gradual", "steps": [{"percent": 25, "hold": "400ms"}, {"percent": 60, "hold": "400ms"}]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Flavour:
    """One kind of run. `spec`: of the policy. `members`: with workloads in member clusters that are promoted."""

    name: str
    planned: bool
    spec: Mapping[str, Any] = field(default_factory=dict)
    members: bool = False

    def begin(self, scene: Scene) -> None:
        """Give the reason for the run: a person's order, or a dead region."""
        west, central = scene.names
        if not self.planned:
            scene.region(west).kill()
            return
        ask = failover(scene.app, namespace=scene.namespace, name="over", type="Switchover", from_=west, to=central)
        scene.cluster.apply(ask)


UNPLANNED = Flavour(name="failover", planned=False)
PLANNED = Flavour(name="switchover", planned=True)
GRACEFUL = Flavour(name="graceful", planned=True, spec={"transition": {"type": "Graceful", "drain": "300ms"}})
GRADUALLY = Flavour(name="gradual", planned=True, spec={"transition": GRADUAL})
# The old side first, and the new side first: the two orders of the steps that move roles.
PROMOTED = Flavour(
    name="promotion",
    planned=True,
    members=True,
    spec={"promotion": {"steps": STEPS}, "safety": {"fencing": "Required", "cooldown": "0s"}},
)
PROMOTED_UNPLANNED = Flavour(
    name="promotion-failover", planned=False, members=True, spec={"promotion": {"steps": STEPS}}
)
FLAVOURS = (UNPLANNED, PLANNED, GRACEFUL, GRADUALLY, PROMOTED, PROMOTED_UNPLANNED)


def make_scene(stage: Stage) -> Scene:
    """A scene that is not entered yet, with names that nobody else uses."""
    word = f"c{secrets.token_hex(2)}"
    return Scene(stage.cluster, stage.gateway, [f"{word}-west", f"{word}-central"], namespace=word)


def furnish(
    stage: Stage, scene: Scene, flavour: Flavour, planes: Sequence[ControlPlane], roads: Sequence[Path]
) -> None:
    """Make the objects of an entered scene; a leader will adopt them. `roads`: kubeconfigs for the planes."""
    for name, plane, road in zip(scene.names, planes, roads, strict=False):
        join(stage.cluster, scene, name, plane, road)
        serves = name == scene.names[0]
        plane.apply(workloads(replicas=2 if serves else 0, suspend=not serves), namespace=scene.namespace)
    if not planes:
        scene.apply_regions()
    scene.apply_policy(**{"safety": {"cooldown": "0s"}, **flavour.spec})


def wait_settled(scene: Scene, planes: Sequence[ControlPlane]) -> None:
    """Wait until the scene is as a run would find it on a quiet day."""
    scene.wait_adopted(timeout=90)
    for name in scene.names:
        eventually(lambda name=name: scene.health(name) == "Healthy", what=f"{name} to be healthy", timeout=60)
    if planes:
        eventually(lambda: state(planes[0], scene.namespace)[:2] == (2, 2), what="ready pods", timeout=60)
        for name in scene.names:
            eventually(lambda name=name: _connected(scene, name), what=f"the cluster of {name}", timeout=60)
    # A condition of the policy may still be on its way: what is compared afterwards begins from rest.
    eventually(lambda: scene.condition("Ready").get("status") == "True", what="the policy to be ready", timeout=60)


def _connected(scene: Scene, region: str) -> bool:
    obj = scene.cluster.api.get(f"/apis/regent.dev/v1alpha1/regions/{region}")
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(item["type"] == "ClusterConnected" and item["status"] == "True" for item in conditions)
