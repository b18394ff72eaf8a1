"""What happens on the way to a cluster: the network is cut, history is lost, credentials change, another cluster
answers, clocks differ. Regions of the test's own lead to the shared clusters on detours."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ApiError
from testbed.crash import history
from testbed.operator.link import Link
from testbed.operator.proxy import ApiProxy
from tests.cluster.replication.bench import EU, HUB, SYSTEM, US, Bench
from tests.cluster.replication.detours import REGIONS, account, another_region, put_kubeconfig, uid_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]


def named(*names: str) -> list[dict[str, Any]]:
    return [{"category": "Config", "kinds": [{"kind": "ConfigMap"}], "names": list(names)}]


def test_a_network_that_is_cut_and_history_that_is_lost(bench: Bench, tmp_path: Path) -> None:
    """A region is source of one policy and target of another when the way to it is cut. Meanwhile objects change and go
    there, and its API server starts anew: it remembers nothing from before, and the old watches get 410.

    Fails when anything is lost, pruned too early, or copied from end to end; or when a cut looks like peace.
    """
    plane = bench.planes[EU]
    with (
        Link(account(plane, "cut"), tmp_path) as link,
        another_region(bench, plane, link.kubeconfig) as far,
    ):
        for number in range(12):
            bench.config_map(EU, f"out-{number}")
        bench.config_map(HUB, "in-0", {"a": "1"})
        outward = named(*(f"out-{number}" for number in range(13)))
        bench.policy("out", source={"region": far}, targets=[{"region": US}], resources=outward, outOfSyncAfter="2s")
        bench.policy("in", targets=[{"region": far}], resources=named("in-0", "in-1"))
        for name in ("in", "out"):
            bench.in_state("InSync", name)
        counted = writes(bench, "out"), lists(bench, far), lists(bench, US)
        before = history.now(plane.api, bench.path("configmaps"))

        link.cut()
        bench.delete(EU, "configmaps", "out-0")
        bench.config_map(EU, "out-1", {"a": "2"})
        bench.config_map(EU, "out-12")
        bench.config_map(HUB, "in-1")
        bench.planes[HUB].api.patch(bench.path("configmaps", "in-0"), {"data": {"a": "2"}})
        bench.in_state("OutOfSync", "out")
        assert bench.status("out")["lagMilliseconds"] >= 2000
        bench.in_state("Failed", "in")
        assert bench.data(US, "out-0") is not None
        plane.restart_apiserver()
        with pytest.raises(AssertionError, match="410"):
            remembers(bench, before)

        link.heal()
        bench.until(lambda: bench.data(US, "out-0") is None, "the deletion that went unseen")
        for name in ("in", "out"):
            bench.in_state("InSync", name)
        assert (bench.data(US, "out-1"), bench.data(EU, "in-0")) == ({"a": "2"}, {"a": "2"})
        assert bench.data(US, "out-12") is not None and bench.data(EU, "in-1") is not None
        assert writes(bench, "out") - counted[0] == 2
        assert lists(bench, far) > counted[1]
        assert lists(bench, US) == counted[2]


def remembers(bench: Bench, version: int) -> None:
    """Watch from an old version on; AssertionError with the answer when it is refused."""
    query = {"watch": "true", "resourceVersion": str(version), "timeoutSeconds": "1"}
    try:
        lines = list(bench.planes[EU].api.lines(bench.path("configmaps"), query=query))
    except ApiError as error:
        raise AssertionError(str(error)) from error
    gone = [line for line in lines if b'"code":410' in line]
    assert not gone, gone[0].decode()


def writes(bench: Bench, policy: str) -> float:
    labels = {"namespace": bench.namespace, "policy": policy, "result": "written"}
    return bench.operator.metrics("regent_replication_writes_total", **labels)


def lists(bench: Bench, region: str) -> float:
    return bench.operator.metrics("regent_replication_lists_total", region=region)


def test_credentials_are_renewed_in_place(bench: Bench) -> None:
    """Fails when renewed credentials cost a list or are not taken up, or refused ones are held against objects."""
    plane, hub = bench.planes[EU], bench.planes[HUB]
    with another_region(bench, plane, account(plane, "first")) as far:
        bench.config_map(HUB, "one", {"a": "1"})
        bench.policy(targets=[{"region": far}])
        bench.in_state("InSync")
        seen = lists(bench, far)
        plane.api.delete(f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/first")
        bench.until(lambda: not accepted(bench, "first"), "the end of the first token")
        bench.config_map(HUB, "one", {"a": "2"})
        bench.config_map(HUB, "two")
        bench.in_state("Failed")
        assert bench.row(far)["objects"]["failed"] == 0, bench.row(far)
        put_kubeconfig(hub, far, account(plane, "second"))
        bench.until(lambda: bench.data(EU, "one") == {"a": "2"}, "the change, with the new credentials")
        bench.in_state("InSync")
        assert lists(bench, far) == seen, "a token is no reason to list anything"


def test_another_cluster_is_not_taken_for_the_region(bench: Bench) -> None:
    """The kubeconfig of a region leads somewhere else one day, and then a person says that this is the region now.

    Fails when anything is written to, or believed of, a cluster with another uid; or when one that was rebuilt is taken
    for one that has its copies.
    """
    plane, hub = bench.planes[EU], bench.planes[HUB]
    with another_region(bench, plane, account(plane, "moved")) as far:
        for name in ("one", "two"):
            bench.config_map(HUB, name, {"a": "1"})
        bench.policy(targets=[{"region": far}])
        bench.in_state("InSync")
        put_kubeconfig(hub, far, account(bench.planes[US], "moved"))
        bench.until(lambda: "leads to another cluster" in str(bench.row(far)), "what is wrong")
        bench.config_map(HUB, "one", {"a": "2"})
        bench.in_state("Failed")
        assert bench.data(US, "one") is None
        hub.api.patch(f"{REGIONS}/{far}", {"spec": {"cluster": {"uid": uid_of(bench.planes[US])}}})
        for name, value in (("one", "2"), ("two", "1")):
            bench.until(lambda name=name, value=value: bench.data(US, name) == {"a": value}, f"the copy of {name}")
        bench.in_state("InSync")
        assert bench.data(EU, "one") == {"a": "1"}, "what was left behind"


def accepted(bench: Bench, name: str) -> bool:
    """Whether the account's token is still good."""
    kubeconfig = bench.planes[EU].directory / "kubeconfigs" / f"{SYSTEM}-{name}.yaml"
    client = bench.planes[EU].client(kubeconfig)
    try:
        client.get("/api/v1/namespaces/kube-system")
    except ApiError as error:
        assert error.status == 401, error
        return False
    finally:
        client.close()
    return True


AHEAD = 3600
"""Seconds by which the clock of a cluster is fast."""


def test_the_newest_wins_by_one_clock(bench: Bench) -> None:
    """The target's clock is an hour ahead, so everything in it looks newer than it is.

    Fails when an older change wins because its cluster's clock is fast.
    """
    plane = bench.planes[EU]
    with (
        ApiProxy(account(plane, "clock")) as proxy,
        another_region(bench, plane, proxy.kubeconfig) as far,
    ):
        proxy.ahead = AHEAD
        for name in ("late", "early"):
            bench.config_map(HUB, name, {"color": "red", "size": "1"})
        bench.policy(targets=[{"region": far}], conflictPolicy="NewestWins")
        bench.in_state("InSync")
        changed_in_target(bench, "late", ago=600)
        changed_in_target(bench, "early", ago=-600)
        for name in ("late", "early"):
            bench.planes[HUB].api.patch(bench.path("configmaps", name), {"data": {"size": "2"}})
        bench.until(lambda: bench.data(EU, "late") == {"color": "red", "size": "2"}, "the change that is newer")
        bench.policy(targets=[{"region": far}], conflictPolicy="NewestWins", batchSize=7)
        bench.in_state("InSync")
        assert bench.data(EU, "early") == {"color": "blue", "size": "1"}


def changed_in_target(bench: Bench, name: str, *, ago: float) -> None:
    """Somebody has changed a copy, so many seconds ago by the fast clock."""
    api, path = bench.planes[EU].api, bench.path("configmaps", name)
    api.patch(path, {"data": {"color": "blue"}})
    then = datetime.fromtimestamp(time.time() + AHEAD - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = api.get(path)["metadata"]["managedFields"]
    mine = [{**entry, "time": then} if entry["manager"] != "regent-replication" else entry for entry in fields]
    # An API server puts times back where nothing else changes, and notes its own for whoever changes something.
    change = {"metadata": {"managedFields": mine, "annotations": {"example.com/aged": then}}}
    api.patch(f"{path}?fieldManager=regent-replication", change)
    assert then in str(api.get(path)["metadata"]["managedFields"])
