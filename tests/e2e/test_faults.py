"""Each way in which a region fails leads to one failover: right target, full journal, clients served again."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from testbed.operator import OperatorReplicas
from testbed.regions import Region
from testbed.scene import Scene
from tests.e2e.claims import claim_events, claim_policy, claim_run
from tests.e2e.conftest import MakeScene, Stage

Break = Callable[[Region], float]
HTTP: tuple[tuple[str, Break], ...] = (
    ("kill", lambda region: region.kill()),
    ("hang", lambda region: region.hang()),
    ("drop", lambda region: region.drop()),
    ("status-503", lambda region: region.status(503)),
    ("wrong-body", lambda region: region.body("maintenance")),
)


def fails_over(scene: Scene, break_: Break, *, within: float) -> None:
    """The first region breaks; the second one takes over and clients are served by it."""
    source, to = scene.names[0], scene.names[1]
    with scene.client() as clients:
        clients.wait_served_by(source, timeout=10)
        since = break_(scene.region(source))
        served = clients.wait_served_by(to, timeout=within + 5, since=since)
        run = scene.wait_run(timeout=within + 10)
        clients.wait_served_by(to, timeout=5, since=time.monotonic())
    claim_run(run, source=source, to=to, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=to, epoch=2)
    claim_events(scene, "FailoverStarted", "FailoverCompleted")
    assert len(scene.runs()) == 1
    assert served.done - since < within
    assert scene.health(source) == "Unreachable"


@pytest.mark.parametrize("break_", [fault for _, fault in HTTP], ids=[name for name, _ in HTTP])
def test_a_region_that_fails_is_left(make_scene: MakeScene, operators: OperatorReplicas, break_: Break) -> None:
    scene = make_scene()
    scene.apply_regions(probe={"http": {"path": "/healthz", "body": {"contains": '"status"'}}})
    scene.apply_policy()
    adopted = scene.wait_adopted()
    assert adopted["epoch"] == 1
    fails_over(scene, break_, within=5.0)


def test_an_expired_certificate_is_a_failure(make_scene: MakeScene, stage: Stage, operators: OperatorReplicas) -> None:
    """Kept connections go on working, so what finds it is the probe's periodic fresh connection, every 5 s here."""
    scene = make_scene()
    stage.cluster.apply(_authority_secret(scene, stage.installation.namespace))
    tls = {"caSecretRef": {"name": f"{scene.namespace}-ca"}}
    for name in scene.names:
        manifest = scene.region_manifest(
            name, endpoint=scene.region(name).https_url, probe={"http": {"path": "/healthz"}, "tls": tls}
        )
        stage.cluster.apply(manifest)
    scene.apply_policy()
    scene.wait_adopted()
    fails_over(scene, lambda region: region.expire_certificate(), within=10.0)
    message = stage.cluster.api.get(f"/apis/regent.dev/v1alpha1/regions/{scene.names[0]}")["status"]["message"]
    assert "expired" in message, message


def test_grpc_not_serving_is_a_failure(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = make_scene(options={"grpc_services": ["shop.v1.Cart"]})
    scene.apply_regions(probe={"grpc": {"port": 9000, "service": "shop.v1.Cart"}})
    scene.apply_policy()
    scene.wait_adopted()
    fails_over(scene, lambda region: region.not_serving("shop.v1.Cart"), within=5.0)


def test_a_tcp_port_that_refuses_is_a_failure(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = make_scene()
    scene.apply_regions(probe={"tcp": {"port": 7000}})
    scene.apply_policy()
    scene.wait_adopted()
    fails_over(scene, lambda region: region.reject(7000), within=5.0)


def _authority_secret(scene: Scene, namespace: str) -> dict[str, Any]:
    authority = base64.b64encode(scene.regions.ca.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{scene.namespace}-ca", "namespace": namespace},
        "data": {"ca.crt": authority},
    }
