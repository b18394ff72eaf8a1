"""What a person reads off a PlacementPolicy, written by a real operator."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.scene import eventually
from tests.cluster.cli.conftest import NAMES, Desk

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(300)]


def test_a_placement_policy_says_where_it_lets_work_be_and_who_breaks_it(desk: Desk) -> None:
    """Fails when the columns of `kubectl get ppol` stay empty, or go on showing what is no longer so."""
    west, central, _ = NAMES
    desk.put_policy()
    assert desk.active() == west
    manifest: dict[str, Any] = {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "eu-only", "namespace": desk.namespace},
        "spec": {"allowedRegions": [central]},
    }
    desk.stage.cluster.apply(manifest)

    def status() -> dict[str, Any]:
        return dict(desk.get("placementpolicies", "eu-only").get("status") or {})

    eventually(lambda: status().get("violations") == 1, what="the policy that breaks it", timeout=60)
    assert status()["eligibleRegions"] == central
    [ready] = status()["conditions"]
    assert (ready["status"], ready["reason"]) == ("True", "Violated")
    assert "FailoverPolicy shop" in ready["message"]

    desk.stage.cluster.apply({**manifest, "spec": {"allowedRegions": [central, west]}})
    eventually(lambda: status().get("violations") == 0, what="its end", timeout=60)
    assert status()["eligibleRegions"] == ",".join(sorted((central, west)))
    assert status()["conditions"][0]["reason"] == "Obeyed"
