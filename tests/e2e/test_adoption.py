"""What is active when the status does not say: Regent takes over what it finds, at an epoch above all that it finds."""

from __future__ import annotations

from itertools import pairwise

from testbed.controlplane import ApiError
from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover, never
from tests.e2e.claims import claim_policy
from tests.e2e.conftest import MakeScene


def _travelled(scene: Scene) -> str:
    """Six planned moves: epoch 7, and the last region is the active one."""
    west, central, east = scene.names
    stations = [west, central, west, central, west, central, east]
    for number, (source, to) in enumerate(pairwise(stations), start=1):
        scene.cluster.apply(
            failover(
                scene.app, namespace=scene.namespace, name=f"move-{number}", type="Switchover", from_=source, to=to
            )
        )
        scene.wait_run(number=number)
    claim_policy(scene, active=east, epoch=7)
    return east


def _wipe(scene: Scene) -> None:
    path = scene.path("failoverpolicies", scene.app)

    def wiped() -> bool:
        policy = scene.cluster.api.get(path)
        policy["status"] = {}
        try:
            scene.cluster.api.request("PUT", f"{path}/status", policy)
        except ApiError as error:
            assert error.status == 409, error  # the operator wrote in between
            return False
        return True

    eventually(wiped, what="the status to be wiped", timeout=10)


def test_a_wiped_status_is_adopted_from_what_is_there(scene: Scene) -> None:
    east = _travelled(scene)
    generation = scene.route()["metadata"]["generation"]
    _wipe(scene)
    eventually(lambda: scene.status().get("epoch") == 8, what="the adoption", timeout=10)
    scene.wait_adopted()
    claim_policy(scene, active=east, epoch=8, fence=7)
    assert scene.route()["metadata"]["generation"] == generation, "adoption moves nothing"
    never(lambda: len(scene.runs()) > 6, what="a run", during=1.5)


def test_a_rebuilt_policy_adopts_the_weights_and_the_fence_on_the_route(
    scene: Scene, operators: OperatorReplicas
) -> None:
    """Policy and runs are gone, and come back from Git without a status, while no operator runs."""
    east = _travelled(scene)
    generation = scene.route()["metadata"]["generation"]
    _stopped(operators)
    scene.cluster.api.delete(scene.path("failoverpolicies", scene.app))
    for run in scene.runs():  # they were made by a person, so they do not go with the policy
        scene.cluster.api.delete(scene.path("failovers", run["metadata"]["name"]))
    eventually(lambda: scene.runs() == [], what="the runs to be gone", timeout=10)
    scene.apply_policy()
    _started(operators)
    scene.wait_adopted()
    claim_policy(scene, active=east, epoch=8)
    assert scene.route()["metadata"]["generation"] == generation, "adoption moves nothing"
    assert scene.runs() == []


def test_a_new_policy_adopts_the_region_that_has_the_weight(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    """Not the first of the list, and not the best: the one that serves."""
    scene = make_scene()
    east = scene.names[2]
    scene.publish({name: 100 if name == east else 0 for name in scene.names})
    scene.apply_regions()
    scene.apply_policy()
    scene.wait_adopted()
    claim_policy(scene, active=east, epoch=1)


def test_sources_that_disagree_are_put_before_a_person(scene: Scene, operators: OperatorReplicas) -> None:
    """The weights say one region, the last run says another: nothing is written until somebody answers."""
    west, central, east = scene.names
    scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name="move", from_=west, to=central))
    scene.wait_run()
    _stopped(operators)
    _wipe(scene)
    scene.gateway.set_weights(scene.app, {west: 0, central: 0, east: 100}, namespace=scene.namespace)
    _started(operators)
    ready = eventually(
        lambda: found if (found := scene.condition("Ready")).get("reason") == "AdoptionAmbiguous" else None,
        what="the question",
        timeout=10,
    )
    assert east in ready["message"]
    assert central in ready["message"]
    never(lambda: scene.active() != [east], what="a write before the answer", during=1.5)
    path = scene.path("failoverpolicies", scene.app)
    scene.cluster.api.patch(path, {"metadata": {"annotations": {"regent.dev/adopt": central}}})
    scene.wait_active(central, timeout=10)
    claim_policy(scene, active=central, epoch=3)


def _stopped(operators: OperatorReplicas) -> None:
    assert [member.terminate() for member in operators] == [0, 0]


def _started(operators: OperatorReplicas) -> None:
    for member in operators:
        member.start()
    for member in operators:
        member.wait_ready()
