"""A clock that is off: the API server tells another time than the operator's machine has.

The time is told with every answer; the proxy between the two turns it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from testbed.operator import OperatorReplicas
from testbed.operator.proxy import ApiProxy
from testbed.scene import eventually, failover, never
from tests.e2e.conftest import MakeScene, Stage, claim_logs
from tests.e2e.roles import Roles, serving, step

LONG = 60.0


@pytest.fixture(scope="module")
def proxy(stage: Stage) -> Iterator[ApiProxy]:
    with ApiProxy(stage.installation.kubeconfig) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operators(stage: Stage, proxy: ApiProxy) -> Iterator[OperatorReplicas]:
    with OperatorReplicas(stage.installation, count=1, kubeconfig_for=lambda _: proxy.kubeconfig) as replicas:
        yield replicas
        claim_logs(replicas)


def test_while_the_clock_is_off_nothing_that_holds_data_is_moved(
    make_scene: MakeScene, stage: Stage, operators: OperatorReplicas, proxy: ApiProxy
) -> None:
    """Fails when a run begins all the same, when it is not said why none does, or when the clock's return is missed."""
    leader = operators.leader(timeout=LONG)
    scene = make_scene("west", "central")
    west, central = scene.names
    roles = Roles(west, [central])
    with serving(roles):
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": [step(roles)]}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        proxy.ahead = 60.0
        eventually(lambda: leader.metric("regent_clock_offset_seconds") > 50, what="the figure", timeout=LONG)
        region = f"/apis/regent.dev/v1alpha1/regions/{west}"
        stage.cluster.api.patch(region, {"spec": {"adminState": "Drained"}})
        why = "this machine's clock is more than failover.maxClockSkew (2s) off the API server's"
        eventually(lambda: scene.condition("Progressing").get("reason") == "ClockSkew", what="the hold", timeout=LONG)
        labels = {"namespace": scene.namespace, "policy": scene.app, "reason": "ClockSkew"}
        eventually(lambda: leader.metric("regent_policy_held", **labels) == 1, what="the metric", timeout=LONG)
        command = ["--kubeconfig", str(stage.cluster.kubeconfig), "status", scene.app, "-n", scene.namespace]
        screen = subprocess.run(
            [sys.executable, "-m", "regent", *command], capture_output=True, text=True, timeout=90, check=True
        ).stdout
        told = " ".join(screen.split())
        assert why in told and "synchronise the clocks (NTP), and it goes on" in told, screen
        # A run that a person makes waits for it, too.
        scene.cluster.apply(
            failover(scene.app, namespace=scene.namespace, name="move", type="Switchover", from_=west, to=central)
        )

        def blocked() -> bool:
            status = scene.cluster.api.get(scene.path("failovers", "move")).get("status") or {}
            conditions = status.get("conditions") or ()
            return status.get("phase") == "Blocked" and any(why in item.get("message", "") for item in conditions)

        eventually(blocked, what="the run by hand to wait", timeout=LONG)
        never(lambda: roles.done, what="a role was moved", during=1.0)
        assert scene.status()["epoch"] == 1
        proxy.ahead = 0.0
        scene.wait_active(central, timeout=LONG)
        assert roles.done == [f"demote {west}", f"promote {central}"]
        eventually(lambda: leader.metric("regent_policy_held", **labels) == 0, what="the metric's end", timeout=LONG)
        stage.cluster.api.patch(region, {"spec": {"adminState": "Enabled"}})
