"""A failover of an application whose objects are copied: nothing is lost, the copies wake, and the direction turns."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.cluster.replication.bench import API, EU, HUB, US, Bench
from tests.cluster.replication.test_kinds import deployment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]

CRON = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "tidy"},
    "spec": {
        "schedule": "0 3 * * *",
        "jobTemplate": {
            "spec": {
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "tidy", "image": "registry.invalid/tidy:1"}],
                    }
                }
            }
        },
    },
}


def failover_policy(bench: Bench, **spec: Any) -> None:
    """A policy over both members, active in `eu`."""
    wanted = {
        "topology": "ActivePassive",
        "regions": [{"name": EU}, {"name": US}],
        "mode": "Manual",
        "replicationPolicyRefs": [{"name": "shop", "gate": "Required"}],
        **spec,
    }
    # Nothing that the policy steers says what is active, so a person does.
    metadata = {"name": "shop", "annotations": {"regent.dev/adopt": EU}}
    bench.apply(HUB, {"apiVersion": API, "kind": "FailoverPolicy", "metadata": metadata, "spec": wanted})
    bench.until(lambda: bench.failover_status().get("activeRegion"), "an active region")


def switch(bench: Bench, source: str, to: str, name: str, **spec: Any) -> dict[str, Any]:
    """Order a switchover and wait for its end."""
    bench.apply(
        HUB,
        {
            "apiVersion": API,
            "kind": "Failover",
            "metadata": {"name": name},
            "spec": {"policyRef": {"name": "shop"}, "type": "Switchover", "from": source, "to": to, **spec},
        },
    )

    def ended() -> dict[str, Any] | None:
        run = bench.get(HUB, "failovers", name, api=API) or {}
        status = run.get("status") or {}
        return status if status.get("phase") in ("Succeeded", "Failed", "RolledBack", "Cancelled") else None

    return dict(
        bench.until(
            ended,
            f"the end of {name}",
            within=120,
            show=lambda: (bench.get(HUB, "failovers", name, api=API) or {}).get("status"),
        )
    )


def workload(bench: Bench, region: str) -> tuple[int | None, bool | None]:
    """Replicas of the Deployment and whether the CronJob is suspended."""
    web, tidy = (
        bench.get(region, "deployments", "web", api="apps/v1"),
        bench.get(region, "cronjobs", "tidy", api="batch/v1"),
    )
    return (
        None if web is None else web["spec"].get("replicas", 1),
        None if tidy is None else bool(tidy["spec"].get("suspend")),
    )


def test_a_switchover_wakes_the_copies_and_turns_the_direction_round(bench: Bench) -> None:
    """Fails when a change before the run is lost, the standby does not run after it, or the old side runs on."""
    bench.config_map(EU, "settings", {"color": "red"})
    bench.apply(EU, deployment("web", 3), CRON)
    bench.policy(
        source={"followPolicy": "shop"},
        targets=[{"region": EU}, {"region": US}],
        resources=[{"category": "Config"}, {"category": "Workload"}],
    )
    failover_policy(bench)
    bench.in_state("InSync")
    assert bench.status()["sourceRegion"] == EU
    assert workload(bench, US) == (0, True)

    bench.config_map(EU, "settings", {"color": "blue"})
    ended = switch(bench, EU, US, "over")
    assert ended["phase"] == "Succeeded", ended
    steps = {step["name"]: step for step in ended["steps"]}
    assert "all of eu is in us" in steps["FinalSync"]["message"]
    assert bench.data(US, "settings") == {"color": "blue"}
    assert workload(bench, US) == (3, False)

    bench.until(lambda: bench.status().get("sourceRegion") == US, "the other direction")
    bench.until(lambda: workload(bench, EU) == (0, True), "the old side asleep")
    bench.in_state("InSync")
    assert workload(bench, US) == (3, False)
    bench.config_map(US, "settings", {"color": "green"})
    bench.until(lambda: bench.data(EU, "settings") == {"color": "green"}, "a change on its way back")

    ended = switch(bench, US, EU, "back")
    assert ended["phase"] == "Succeeded", ended
    assert workload(bench, EU) == (3, False)
    bench.until(lambda: workload(bench, US) == (0, True), "the first standby asleep again")
    bench.in_state("InSync")


def test_a_run_waits_for_what_cannot_be_copied(bench: Bench) -> None:
    """Fails when roles move although the last changes are not in the new region."""
    bench.config_map(EU, "settings", {"color": "red"})
    bench.policy(source={"followPolicy": "shop"}, targets=[{"region": EU}, {"region": US}], suspend=True)
    failover_policy(bench)
    bench.in_state("Paused")
    ended = switch(bench, EU, US, "held")
    assert ended["phase"] in ("Failed", "RolledBack")
    assert "the last changes are being copied" in str(ended["attempts"])
    bench.until(lambda: bench.failover_status().get("activeRegion") == EU, "the old region, active as before")
    assert bench.data(US, "settings") is None


def test_a_region_that_is_lost_is_left_and_what_it_alone_had_is_kept(bench: Bench) -> None:
    """Fails when the copies do not wake without their source, or a write that never was copied is lost unseen."""
    bench.config_map(EU, "settings", {"color": "red"})
    bench.apply(EU, deployment("web", 3))
    bench.policy(
        source={"followPolicy": "shop"},
        targets=[{"region": EU}, {"region": US}],
        resources=[{"category": "Config"}, {"category": "Workload"}],
    )
    failover_policy(bench, mode="Automatic", replicationPolicyRefs=[{"name": "shop", "gate": "Advisory"}])
    bench.in_state("InSync")
    bench.operator.stop(signal.SIGKILL)
    bench.config_map(EU, "settings", {"color": "never copied"})
    bench.planes[EU].stop_apiserver(how=signal.SIGKILL)
    try:
        bench.operator.start()
        bench.until(
            lambda: bench.failover_status().get("activeRegion") == US and not bench.failover_status().get("operation"),
            "the failover",
            within=120,
            show=bench.failover_status,
        )
        assert workload(bench, US)[0] == 3
        assert bench.data(US, "settings") == {"color": "red"}
    finally:
        bench.planes[EU].start_apiserver()
    bench.until(lambda: workload(bench, EU)[0] == 0, "the old side asleep", within=120)
    bench.until(lambda: bench.data(EU, "settings") == {"color": "red"}, "what the new side has")
    assert workload(bench, US)[0] == 3
    maps = bench.planes[EU].api.get(bench.path("configmaps"))["items"]
    kept = [item for item in maps if item["metadata"]["name"].startswith("regent-kept-")]
    assert any("never copied" in str(item) for item in kept)
