"""Regions whose clusters are reached by the Secrets of Cluster API and of Argo CD, as those tools write them."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.controlplane import ApiError, ControlPlane
from tests.cluster.replication.bench import EU, HUB, SYSTEM, US, Bench
from tests.cluster.replication.detours import (
    REGIONS,
    account,
    another_region,
    put_argo_cd,
    put_cluster_api,
    uid_of,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]


def test_secrets_of_cluster_api_and_argo_cd_connect_and_are_renewed_in_place(bench: Bench) -> None:
    """Fails when such a Secret is not understood, another cluster passes for the right one with it, or a new token in
    it is not taken up, or costs a list."""
    hub, first = bench.planes[HUB], {name: account(bench.planes[name], "first-of-tool") for name in (EU, US)}
    with (
        another_region(bench, bench.planes[EU], first[EU], put_cluster_api) as capi,
        another_region(bench, bench.planes[US], first[US], put_argo_cd) as argo,
    ):
        places = {capi: EU, argo: US}
        for name, place in places.items():
            bench.until(lambda name=name: connected(hub, name)["reason"] == "Connected", f"the cluster of {name}")
            assert uid_of(bench.planes[place]) in connected(hub, name)["message"]
        bench.config_map(HUB, "one", {"a": "1"})
        bench.policy(targets=[{"region": name} for name in places])
        bench.in_state("InSync")
        seen = {name: lists(bench, name) for name in places}

        for place in places.values():
            path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/first-of-tool"
            bench.planes[place].api.delete(path)
            bench.until(lambda place=place: not accepted(bench.planes[place]), "the end of the first token")
        bench.config_map(HUB, "one", {"a": "2"})
        put_cluster_api(hub, capi, account(bench.planes[EU], "second-of-tool"))
        put_argo_cd(hub, argo, account(bench.planes[US], "second-of-tool"))
        for place in places.values():
            bench.until(lambda place=place: bench.data(place, "one") == {"a": "2"}, "the change, by the new token")
        bench.in_state("InSync")
        assert {name: lists(bench, name) for name in places} == seen, "a token is no reason to list anything"

        for name in places:
            hub.api.patch(f"{REGIONS}/{name}", {"spec": {"cluster": {"uid": "of-another-cluster"}}})
            bench.until(lambda name=name: connected(hub, name)["reason"] == "UidMismatch", f"the wrong uid of {name}")


def connected(hub: ControlPlane, region: str) -> dict[str, Any]:
    """The Region's condition ClusterConnected."""
    conditions = (hub.api.get(f"{REGIONS}/{region}").get("status") or {}).get("conditions") or []
    unknown = {"reason": "", "message": ""}
    return next((item for item in conditions if item["type"] == "ClusterConnected"), unknown)


def lists(bench: Bench, region: str) -> float:
    return bench.operator.metrics("regent_replication_lists_total", region=region)


def accepted(plane: ControlPlane) -> bool:
    """Whether the first token is still good."""
    client = plane.client(plane.directory / "kubeconfigs" / f"{SYSTEM}-first-of-tool.yaml")
    try:
        client.get("/api/v1/namespaces/kube-system")
    except ApiError as error:
        assert error.status == 401, error
        return False
    finally:
        client.close()
    return True
