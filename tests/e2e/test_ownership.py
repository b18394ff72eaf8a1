"""Who may write a route: one policy, the older one; and what happens when others write it, or it goes."""

from __future__ import annotations

import time

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, never
from tests.e2e.claims import claim_policy, claim_run


def test_the_older_policy_owns_the_route(scene: Scene) -> None:
    west, central, _ = scene.names
    younger = scene.policy_manifest("aaa-younger")
    eventually(lambda: _age(scene) >= 1.0, what="a second between the two policies", timeout=5)
    scene.cluster.apply(younger)
    ready = eventually(
        lambda: found if (found := scene.condition("Ready", "aaa-younger")).get("status") == "False" else None,
        what="the younger policy to give way",
        timeout=5,
    )
    assert ready["reason"] == "TargetConflict"
    assert f"{scene.namespace}/{scene.app}" in ready["message"]
    scene.region(west).kill()
    run = scene.wait_run()
    assert run["spec"]["policyRef"]["name"] == scene.app
    claim_policy(scene, active=central, epoch=2)
    assert len(scene.runs()) == 1
    assert not scene.status("aaa-younger").get("epoch")
    owner = scene.route()["metadata"]["annotations"]["regent.dev/policy"]
    assert owner.startswith(f"{scene.namespace}/{scene.app}/")

    scene.cluster.api.delete(scene.path("failoverpolicies", scene.app))
    adopted = eventually(
        lambda: found if (found := scene.status("aaa-younger")).get("epoch") else None,
        what="the younger policy to take over",
        timeout=20,
    )
    assert adopted["activeRegion"] == central, "it adopts what it finds"
    assert adopted["epoch"] == 3, "an epoch above the fence on the route"
    eventually(
        lambda: "/aaa-younger/" in scene.route()["metadata"]["annotations"]["regent.dev/policy"],
        what="the route to change its owner",
        timeout=10,
    )
    assert scene.active() == [central]


def test_a_route_that_is_deleted_and_made_again_is_steered_again(scene: Scene) -> None:
    west = scene.names[0]
    scene.cluster.api.delete(scene.route_path)
    eventually(lambda: scene.condition("Ready").get("reason") == "TargetNotFound", what="the report", timeout=5)
    assert scene.status()["activeRegion"] == west
    scene.publish({name: 100 if name == scene.names[2] else 0 for name in scene.names})
    scene.wait_active(west, timeout=10)
    eventually(lambda: scene.condition("Ready")["status"] == "True", what="Ready", timeout=5)
    assert scene.runs() == []
    assert scene.status()["epoch"] == 1


def test_a_route_that_comes_back_during_an_outage_gets_the_new_weights(scene: Scene) -> None:
    west, central, _ = scene.names
    scene.cluster.api.delete(scene.route_path)
    eventually(lambda: scene.condition("Ready").get("reason") == "TargetNotFound", what="the report", timeout=5)
    scene.region(west).kill()
    eventually(lambda: scene.health(west) == "Unreachable", what="west to be down", timeout=10)
    eventually(scene.runs, what="the run", timeout=5)
    # Applied without waiting for an answer through it: the region that it names first is dead.
    scene.cluster.apply(_route_again(scene))
    scene.wait_active(central, timeout=20)
    claim_run(scene.wait_run(timeout=20), source=west, to=central, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=central, epoch=2)


def test_a_writer_that_insists_is_named_and_let_go(scene: Scene) -> None:
    """Three repairs a minute, then the conflict is shown: two controllers must not fight for ever."""
    west, _, east = scene.names
    wanted = scene.names.index(east)
    deadline = time.monotonic() + 30
    fights = 0
    while scene.condition("Ready").get("reason") != "TargetConflict":
        assert time.monotonic() < deadline, scene.status()
        if scene.active() == [west]:
            _write_weights(scene, wanted, manager="argocd-controller")
            fights += 1
        time.sleep(0.05)
    assert fights == 4, "three repairs, and the fourth change stands"
    ready = scene.condition("Ready")
    assert "argocd-controller" in ready["message"]
    assert scene.status()["targets"][0]["verification"] == "Conflict"
    generation = scene.route()["metadata"]["generation"]
    never(lambda: scene.route()["metadata"]["generation"] != generation, what="another repair", during=2.0)
    assert scene.active() == [east]
    assert scene.runs() == []


def test_a_failover_is_carried_through_against_another_writer(scene: Scene, operators: OperatorReplicas) -> None:
    west, central, _ = scene.names
    scene.region(west).kill()
    scene.wait_active(central)
    _write_weights(scene, 0, manager="argocd-controller")
    scene.wait_active(central, timeout=10)


def test_deleting_the_policy_leaves_the_last_good_weights(scene: Scene) -> None:
    west, central, _ = scene.names
    scene.region(west).kill()
    scene.wait_active(central)
    scene.wait_run()
    generation = scene.route()["metadata"]["generation"]
    scene.cluster.api.delete(scene.path("failoverpolicies", scene.app))
    scene.region(central).kill()
    never(lambda: scene.route()["metadata"]["generation"] != generation, what="a write", during=2.0)
    assert scene.active() == [central]
    eventually(lambda: scene.runs() == [], what="the runs to go with their owner", timeout=20)


def _age(scene: Scene) -> float:
    created = scene.policy()["metadata"]["creationTimestamp"]
    return time.time() - time.mktime(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ")) + time.timezone - 0.0


def _write_weights(scene: Scene, wanted: int, *, manager: str) -> None:
    """All weight on the backend at a position, as another controller writes it."""
    references = scene.route()["spec"]["rules"][0]["backendRefs"]
    operations = [
        {
            "op": "replace",
            "path": f"/spec/rules/0/backendRefs/{position}/weight",
            "value": 100 if position == wanted else 0,
        }
        for position in range(len(references))
    ]
    scene.cluster.api.patch(
        scene.route_path, operations, content_type="application/json-patch+json", fieldManager=manager
    )


def _route_again(scene: Scene) -> dict[str, object]:
    from testbed.gateway import http_route

    weights = {name: 100 if name == scene.names[0] else 0 for name in scene.names}
    return http_route(
        scene.app,
        weights,
        namespace=scene.namespace,
        gateway=scene.gateway.name,
        gateway_namespace=scene.gateway.namespace,
        hostnames=[scene.host],
    )
