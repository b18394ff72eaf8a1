"""Objects that a target does not take hold up no others, and are taken when it does: real API servers and webhooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.controlplane import ApiError
from tests.cluster.replication.bench import EU, HUB, US, Bench, Json
from tests.cluster.replication.test_kinds import cart_definition, deployment, rights_on_carts
from tests.cluster.replication.webhook import HANG, LABEL, REFUSAL, REFUSE, webhooks

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]

ETCD_LIMIT = 1536 * 1024
SHOP = "shop.example.com/v1"
KIND = "Crate"
"""Not the kind of other tests, which want clusters that do not know it."""


def crate(size: int) -> Json:
    """An object of about so many bytes."""
    return {"apiVersion": SHOP, "kind": KIND, "metadata": {"name": "heavy"}, "spec": {"items": "x" * size}}


def heaviest(bench: Bench) -> int:
    """Put the heaviest object into the source that it takes; a copy has marks besides, so no target takes that."""
    path = bench.path("crates", api=SHOP)
    for size in range(ETCD_LIMIT - 600, 0, -200):
        try:
            bench.planes[HUB].api.create(path, crate(size))
        except ApiError as error:
            assert "too large" in str(error), error
        else:
            return size
    raise AssertionError("nothing is taken")


def test_what_a_target_does_not_take_holds_up_nothing_else(bench: Bench, tmp_path: Path) -> None:
    """Fails when an object that is refused, never answered about, or too large keeps others waiting, makes the target
    look lost, or is forgotten."""
    for region in (HUB, EU):
        bench.planes[region].install_crds([cart_definition(KIND)])
    bench.planes[EU].apply(rights_on_carts(KIND))
    size = heaviest(bench)
    kinds = [{"group": "shop.example.com", "version": "v1", "kind": KIND}]
    with webhooks(bench.planes[EU], bench.namespace, tmp_path):
        for what in (REFUSE, HANG):
            bench.config_map(HUB, what, labels={LABEL: what})
        bench.config_map(HUB, "fine")
        bench.apply(HUB, deployment("web", 3))
        bench.policy(
            resources=[
                {"category": "Config", "kinds": [{"kind": "ConfigMap"}]},
                {"category": "Workload"},
                {"category": "State", "kinds": kinds},
            ]
        )
        bench.until(lambda: bench.data(EU, "fine") is not None, "another object of the same kind")
        # Workloads come after configuration, of which one object gets no answer.
        bench.until(lambda: bench.get(EU, "deployments", "web", api="apps/v1") is not None, "the next wave")
        bench.until(lambda: bench.row().get("objects", {}).get("failed") == 3, "three that are counted as failed")
        assert bench.status()["state"] == "OutOfSync"
        errors = "\n".join(bench.row()["errors"])
        assert f"ConfigMap/{REFUSE}" in errors and REFUSAL in errors
        assert f"ConfigMap/{HANG}" in errors and "no answer in time" in errors
        assert "Crate/heavy" in errors and "too large" in errors
        bench.config_map(HUB, "later")
        bench.until(lambda: bench.data(EU, "later") is not None, "a later object", within=20)
        tried = bench.operator.metrics("regent_replication_writes_total", namespace=bench.namespace, result="too_large")
        assert tried == 1, "what is too large is too large the next time"
    # Their sources change, and so they are tried at once.
    for what in (REFUSE, HANG):
        bench.planes[HUB].api.patch(bench.path("configmaps", what), {"data": {"key": "other"}})
    bench.planes[HUB].api.patch(bench.path("crates", "heavy", api=SHOP), {"spec": {"items": "x" * (size - 8192)}})
    bench.in_state("InSync")
    assert bench.data(EU, HANG) == {"key": "other"}


def test_a_namespace_that_is_not_there_is_asked_for_once(bench: Bench) -> None:
    """Fails when a missing namespace looks like many faulty objects, slows others down, or is made by itself."""
    other = f"{bench.namespace}-dr"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"key": "hush"}}
    bench.apply(HUB, secret)
    for number in range(30):
        bench.config_map(HUB, f"item-{number}")
    resources = [{"category": "Config", "includeSecrets": True}]
    before = requests_without_success(bench)
    bench.policy("lost", targets=[{"region": EU, "namespace": other}, {"region": US}], resources=resources)
    status = bench.in_state("Failed", "lost")
    row = bench.row(EU, "lost")
    assert f"namespace {other} does not exist there: create it" in "\n".join(row["errors"]), row
    assert row["objects"]["failed"] == 0, row
    assert status["inSyncTargets"] in ("0/2", "1/2")
    bench.until(lambda: bench.row(US, "lost").get("state") == "InSync", "the target that has the namespace")
    bench.policy("shop")
    bench.in_state("InSync", "shop")
    assert requests_without_success(bench) - before < 60, "one of a batch is tried, not all"
    bench.planes[EU].create_namespace(other)
    bench.in_state("InSync", "lost")
    assert bench.get(EU, "secrets", "keys", namespace=other) is not None
    bench.planes[EU].delete_namespace(other)


def requests_without_success(bench: Bench) -> float:
    """How many requests to make ConfigMaps or Secrets were answered with 404."""
    return sum(
        bench.operator.metrics("regent_api_requests_total", verb="post", kind=kind, code="404")
        for kind in ("ConfigMap", "Secret")
    )


def test_a_busy_target_is_given_time(bench: Bench) -> None:
    """The API server's own priority and fairness refuses all writes of the account for a while (429).

    Fails when that is held against objects, when the server is asked over and over, or copies are missing after it.
    """
    api, here = "flowcontrol.apiserver.k8s.io/v1", bench.namespace
    level = {
        "apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": here},
        "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
        },
    }  # fmt: skip
    rule = {
        "verbs": ["create", "patch", "delete"],
        "apiGroups": [""],
        "resources": ["configmaps"],
        "namespaces": [here],
    }
    user = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "regent-system", "name": "regent"}}
    schema = {
        "apiVersion": api, "kind": "FlowSchema", "metadata": {"name": here},
        "spec": {
            "priorityLevelConfiguration": {"name": here}, "matchingPrecedence": 100,
            "rules": [{"subjects": [user], "resourceRules": [rule]}],
        },
    }  # fmt: skip
    for number in range(60):
        bench.config_map(HUB, f"item-{number:02d}")
    bench.planes[EU].apply([level, schema])
    try:
        bench.until(lambda: refuses(bench, here), "the limit to be in force")
        bench.policy()
        bench.until(lambda: rejected(bench) >= 3, "writes that are refused")
        before = rejected(bench)
        bench.until(lambda: rejected(bench) >= before + 3, "more of them")
        row = bench.row()
        assert row.get("objects", {}).get("failed", 0) == 0, row
        assert row["state"] in ("Failed", "Syncing"), row
    finally:
        for path in ("flowschemas", "prioritylevelconfigurations"):
            bench.planes[EU].api.delete(f"/apis/{api}/{path}/{here}")
    total = rejected(bench)
    bench.in_state("InSync")
    assert all(bench.data(EU, f"item-{number:02d}") is not None for number in range(60))
    assert total < 60, f"{total} requests to a server that asked for time"


def rejected(bench: Bench) -> float:
    """Writes that were answered with 429."""
    return bench.operator.metrics("regent_api_requests_total", verb="post", kind="ConfigMap", code="429")


def refuses(bench: Bench, name: str) -> bool:
    """Whether the API server has taken the limit up."""
    found = bench.planes[EU].api.get(f"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{name}")
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Dangling" and item["status"] == "False" for item in conditions)
