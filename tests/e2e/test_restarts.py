"""Restarts in the middle of an outage: one run, the right one, as soon as everybody is back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from testbed.operator import OperatorReplicas, Restart
from testbed.scene import Scene, never
from tests.e2e.claims import claim_policy, claim_run, no_run
from tests.e2e.conftest import Stage

BACK = 60.0
"""Seconds for a replica that gave up its lease with the API server to be started again (the kubelet waits 10 s before
the second time, 20 s before the third)."""


@pytest.fixture(scope="module")
def operators(stage: Stage) -> Iterator[OperatorReplicas]:
    """Replicas that are started again when they end: one that loses its lease has to end."""
    with OperatorReplicas(stage.installation, restart=Restart.ALWAYS) as replicas:
        yield replicas
    # The gateway's watches wait up to half a minute before they try again; later tests are not about that.
    stage.gateway.stop()
    stage.gateway.start()


def test_operators_that_start_during_an_outage(scene: Scene, operators: OperatorReplicas) -> None:
    """A region died while nobody looked. After the grace they know it from their own probes, and act once."""
    west, central, _ = scene.names
    assert [member.terminate() for member in operators] == [0, 0]
    scene.region(west).kill()
    for member in operators:
        member.start()
    for member in operators:
        member.wait_ready()
    scene.wait_active(central, timeout=20)
    claim_run(scene.wait_run(), source=west, to=central, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=central, epoch=2)
    never(lambda: len(scene.runs()) > 1, what="a second run", during=1.5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["politely", "crash"])
def test_the_api_server_restarts_during_an_outage(
    scene: Scene, operators: OperatorReplicas, stage: Stage, how: signal.Signals
) -> None:
    """Without the API server nothing can be decided; with it again, everything that is needed is still known."""
    west, central, _ = scene.names
    stage.cluster.stop_apiserver(how=how)
    scene.region(west).kill()
    stage.cluster.start_apiserver()
    scene.wait_active(central, timeout=BACK)
    claim_run(scene.wait_run(timeout=20), source=west, to=central, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=central, epoch=2, gateway_within=60.0)
    never(lambda: len(scene.runs()) > 1, what="a second run", during=1.5)


def test_the_api_server_restarts_and_nothing_is_wrong(scene: Scene, operators: OperatorReplicas, stage: Stage) -> None:
    stage.cluster.restart_apiserver(how=signal.SIGKILL)
    never(scene.runs, what="a run because of the API server", during=3.0)
    operators.leader(timeout=BACK)
    no_run(scene)
