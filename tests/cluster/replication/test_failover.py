"""A failover of an application whose objects are copied: nothing is lost, the copies wake, and the direction turns."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.cluster.replication.admission import refused
from tests.cluster.replication.bench import API, EU, HUB, US, Bench
from tests.cluster.replication.test_kinds import cart_definition, deployment, rights_on_carts
from tests.cluster.replication.test_losers import records

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
CRATE: dict[str, Any] = {
    "apiVersion": "shop.example.com/v1", "kind": "Crate", "metadata": {"name": "c1"}, "spec": {"items": [1, 2]},
}  # fmt: skip
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


def order(bench: Bench, source: str, to: str, name: str, **spec: Any) -> None:
    """Order a switchover."""
    bench.apply(
        HUB,
        {
            "apiVersion": API,
            "kind": "Failover",
            "metadata": {"name": name},
            "spec": {"policyRef": {"name": "shop"}, "type": "Switchover", "from": source, "to": to, **spec},
        },
    )


def run_status(bench: Bench, name: str) -> dict[str, Any]:
    return dict((bench.get(HUB, "failovers", name, api=API) or {}).get("status") or {})


def end_of(bench: Bench, name: str) -> dict[str, Any]:
    """Wait for the end of a run, and return its status."""

    def ended() -> dict[str, Any] | None:
        status = run_status(bench, name)
        return status if status.get("phase") in ("Succeeded", "Failed", "RolledBack", "Cancelled") else None

    return dict(bench.until(ended, f"the end of {name}", within=120, show=lambda: run_status(bench, name)))


def switch(bench: Bench, source: str, to: str, name: str, **spec: Any) -> dict[str, Any]:
    """Order a switchover and wait for its end."""
    order(bench, source, to, name, **spec)
    return end_of(bench, name)


def step_states(bench: Bench, name: str) -> dict[str, str]:
    """The states of a run's steps by name."""
    return {step["name"]: step["state"] for step in run_status(bench, name).get("steps") or ()}


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
    """Fails when a change before the run is lost, the standby does not run after it, the old side runs on, or what the
    old side wrote too late is gone."""
    for region in (EU, US):
        bench.planes[region].install_crds([cart_definition(CRATE["kind"])])
        bench.planes[region].apply(rights_on_carts(CRATE["kind"]))
    bench.config_map(EU, "settings", {"color": "red"})
    bench.apply(EU, deployment("web", 3), CRON, SERVICE, CRATE)
    kinds = [{"group": "shop.example.com", "version": "v1", "kind": CRATE["kind"], "includeStatus": True}]
    categories = [{"category": "Config"}, {"category": "Workload"}, {"category": "Network"}]
    bench.policy(
        source={"followPolicy": "shop"},
        targets=[{"region": EU}, {"region": US}],
        resources=[*categories, {"category": "State", "kinds": kinds}],
    )
    failover_policy(bench)
    bench.in_state("InSync")
    assert bench.status()["sourceRegion"] == EU
    assert workload(bench, US) == (0, True)

    bench.config_map(EU, "settings", {"color": "blue"})
    bench.planes[EU].api.patch(f"{crates(bench)}/status", {"status": {"total": "12.50"}})
    scale = {"operation": "UPDATE", "group": "apps", "plural": "deployments", "message": "not yet"}
    path = bench.path("deployments", "web", api="apps/v1")
    note = {"metadata": {"annotations": {"canary": "yes"}}}
    with refused(bench, US, **scale, canary=lambda: bench.planes[US].api.patch(path, note, dryRun="All")):
        order(bench, EU, US, "over")
        bench.until(
            lambda: step_states(bench, "over").get("FinalSync") == "Succeeded", "the last state of the old side"
        )
        # Somebody has not heard yet that this side is over.
        bench.config_map(EU, "settings", {"color": "written late"})
    ended = end_of(bench, "over")
    assert ended["phase"] == "Succeeded", ended
    steps = {step["name"]: step for step in ended["steps"]}
    assert "all of eu is in us" in steps["FinalSync"]["message"]
    assert bench.data(US, "settings") == {"color": "blue"}
    assert workload(bench, US) == (3, False)
    assert (state(bench, US), ports(bench, US)) == ({"total": "12.50"}, [80])

    bench.until(lambda: bench.status().get("sourceRegion") == US, "the other direction")
    bench.until(lambda: workload(bench, EU) == (0, True), "the old side asleep")
    bench.in_state("InSync")
    assert bench.data(EU, "settings") == {"color": "blue"}
    kept = [item for item in records(bench, EU) if "written late" in item["data"]["object.json"]]
    assert len(kept) == 1
    assert kept[0]["metadata"]["annotations"]["regent.dev/kept-reason"] == "Diverged"
    assert any(kept[0]["metadata"]["name"] in text for text in bench.row(EU)["errors"]), "it is reported"
    assert workload(bench, US) == (3, False)
    bench.config_map(US, "settings", {"color": "green"})
    bench.planes[US].api.patch(f"{crates(bench)}/status", {"status": {"total": "20.00"}})
    bench.planes[US].api.patch(bench.path("services", "web"), {"spec": {"ports": [{"port": 8080}]}})
    bench.until(lambda: bench.data(EU, "settings") == {"color": "green"}, "a change on its way back")
    bench.until(lambda: state(bench, EU) == {"total": "20.00"}, "a state on its way back")
    bench.until(lambda: ports(bench, EU) == [8080], "a Service on its way back")

    ended = switch(bench, US, EU, "back")
    assert ended["phase"] == "Succeeded", ended
    assert workload(bench, EU) == (3, False)
    bench.until(lambda: workload(bench, US) == (0, True), "the first standby asleep again")
    bench.in_state("InSync")
    assert records(bench, US) == []


def crates(bench: Bench) -> str:
    return bench.path("crates", CRATE["metadata"]["name"], api=CRATE["apiVersion"])


def state(bench: Bench, region: str) -> Any:
    """The status of the custom object."""
    return bench.planes[region].api.get(crates(bench)).get("status")


def ports(bench: Bench, region: str) -> list[int]:
    """The ports of the Service."""
    found = bench.get(region, "services", "web") or {"spec": {}}
    return [port["port"] for port in found["spec"].get("ports") or ()]


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
