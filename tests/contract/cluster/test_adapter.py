"""What only the real adapter does: chunks, unknown fields, TLS, time-outs, credentials, several connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.adapters.clock import SystemClock
from regent.adapters.kubernetes import client as client_module
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.domain.errors import ForbiddenError, InvalidError, NotFoundError, SettingsError, UnavailableError
from regent.engine.resources import HTTP_ROUTES, REGIONS, SECRETS, Resource
from tests.contract.cluster.conftest import CRDS
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.cluster

SELF_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


async def make(kubeconfig: Path | str, **options: Any) -> KubernetesCluster:
    metrics = options.pop("metrics", FakeMetrics())
    return KubernetesCluster(await connect(kubeconfig=str(kubeconfig)), clock=SystemClock(), metrics=metrics, **options)


@pytest.fixture
async def cluster(control_plane: Any) -> AsyncIterator[KubernetesCluster]:
    made = await make(control_plane.kubeconfig)
    yield made
    await made.close()


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data}


async def test_lists_in_chunks_and_misses_nothing(
    cluster: KubernetesCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CHUNK", 3)
    for number in range(10):
        await cluster.create(CONFIG_MAPS, config_map(namespace, f"c{number}"))
    before = cluster._metrics.counted("regent_api_requests_total", verb="list")  # type: ignore[attr-defined]
    found = await cluster.list(CONFIG_MAPS, namespace)
    names = {item["metadata"]["name"] for item in found}
    assert names >= {f"c{number}" for number in range(10)}
    after = cluster._metrics.counted("regent_api_requests_total", verb="list")  # type: ignore[attr-defined]
    assert after - before >= 4


async def test_writes_as_field_manager_regent(cluster: KubernetesCluster, namespace: str) -> None:
    created = await cluster.create(CONFIG_MAPS, config_map(namespace, "c", a="1"))
    created["data"]["a"] = "2"
    replaced = await cluster.replace(CONFIG_MAPS, created)
    assert {entry["manager"] for entry in replaced["metadata"]["managedFields"]} == {"regent"}


async def test_objects_come_and_go_as_raw_json(cluster: KubernetesCluster, control_plane: Any, namespace: str) -> None:
    """Fields that no generated model would know survive, nulls and numbers as they are."""
    await asyncio.to_thread(control_plane.apply, open_definition())
    kind = Resource("test.regent.dev", "v1", "opens", "Open")
    await until_served(cluster, kind)
    body = {"nested": {"list": [1, 2.5, {"deep": True}], "empty": {}, "text": "ü"}, "unknownFutureField": "kept"}
    metadata = {"namespace": namespace, "name": "x"}
    obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": body}
    created = await cluster.create(kind, obj)
    assert created["spec"] == body
    created["spec"]["nested"]["list"].append("more")
    assert (await cluster.replace(kind, created))["spec"]["unknownFutureField"] == "kept"


async def until_served(cluster: KubernetesCluster, kind: Resource) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(NotFoundError):
                if await cluster.serves(kind):
                    await cluster.list(kind)
                    return
            await asyncio.sleep(0.05)


def open_definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "opens", "singular": "open", "kind": "Open", "listKind": "OpenList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "opens.test.regent.dev"},
        "spec": {"group": "test.regent.dev", "names": names, "scope": "Namespaced", "versions": [version]},
    }


async def test_says_which_kinds_are_served(cluster: KubernetesCluster, control_plane: Any) -> None:
    await asyncio.to_thread(control_plane.install_crds, CRDS)
    assert await cluster.serves(REGIONS)
    assert not await cluster.serves(Resource("example.com", "v1", "nothings", "Nothing"))
    assert not await cluster.serves(Resource("regent.dev", "v1alpha1", "nothings", "Nothing"))


async def test_a_refused_object_is_invalid_with_the_servers_words(cluster: KubernetesCluster, namespace: str) -> None:
    with pytest.raises(InvalidError, match="Invalid value"):
        await cluster.create(CONFIG_MAPS, config_map(namespace, "Not_A_Name"))


async def test_what_the_server_says_about_a_secret_is_not_repeated(cluster: KubernetesCluster, namespace: str) -> None:
    secret = config_map(namespace, "s")
    secret.update(kind="Secret", data={"key": "s3cr3t-not-base64!"})
    with pytest.raises(InvalidError) as caught:
        await cluster.create(SECRETS, secret)
    assert "s3cr3t" not in str(caught.value)


async def test_an_account_without_rights_is_forbidden(control_plane: Any, namespace: str) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "nobody"}}
    await asyncio.to_thread(control_plane.apply, account)
    kubeconfig = await asyncio.to_thread(control_plane.service_account_kubeconfig, namespace, "nobody")
    nobody = await make(kubeconfig)
    try:
        with pytest.raises(ForbiddenError):
            await nobody.list(SECRETS, namespace)
    finally:
        await nobody.close()


async def test_a_server_with_another_certificate_is_not_spoken_to(control_plane: Any, tmp_path: Path) -> None:
    """The kubeconfig trusts an authority that has not signed the server's certificate."""
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    config["clusters"][0]["cluster"].pop("certificate-authority-data", None)
    config["clusters"][0]["cluster"].pop("certificate-authority", None)
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    stranger = await make(path)
    try:
        with pytest.raises(UnavailableError, match="TLS") as caught:
            await stranger.list(SECRETS, "default")
        assert caught.value.reason == "TLS"
    finally:
        await stranger.close()


async def test_insecure_tls_is_refused(control_plane: Any, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    config["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    with pytest.raises(SettingsError, match="insecure-skip-tls-verify is refused"):
        await connect(kubeconfig=str(path))


async def test_a_server_that_does_not_answer_costs_the_time_out_and_no_more(control_plane: Any, tmp_path: Path) -> None:
    # It accepts connections in the kernel's backlog and never reads from them.
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    hanging = await make(path, timeout=0.3)
    started = asyncio.get_running_loop().time()
    try:
        with pytest.raises(UnavailableError) as caught:
            await hanging.get(HTTP_ROUTES, "default", "x")
        assert caught.value.reason == "Timeout"
        assert asyncio.get_running_loop().time() - started < 5
        assert hanging.last_answer is None
    finally:
        await hanging.close()
        silent.close()


async def test_a_closed_port_is_unavailable(control_plane: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        unused_tcp_port = taken.getsockname()[1]
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{unused_tcp_port}"
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    absent = await make(path)
    try:
        with pytest.raises(UnavailableError):
            await absent.list(SECRETS, "default")
    finally:
        await absent.close()


async def test_a_token_that_is_replaced_on_disk_is_used(
    control_plane: Any, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "rotated"}}
    await asyncio.to_thread(control_plane.apply, account)
    path = Path(await asyncio.to_thread(control_plane.service_account_kubeconfig, namespace, "rotated"))
    config = yaml.safe_load(path.read_text())
    user = config["users"][0]["user"]
    token_file = tmp_path / "token"
    token_file.write_text("expired")
    good = user.pop("token")
    user["tokenFile"] = str(token_file)
    rotating = tmp_path / "config"
    rotating.write_text(json.dumps(config))
    cluster = await make(rotating)
    try:
        with pytest.raises(ForbiddenError) as caught:
            await cluster.list(SECRETS, namespace)
        assert caught.value.status == 401
        token_file.write_text(good + "\n")
        monkeypatch.setattr("regent.adapters.kubernetes.connection.REFRESH", 0.0)
        with pytest.raises(ForbiddenError) as caught:
            await cluster.list(SECRETS, namespace)
        assert caught.value.status == 403, "known now, though without rights"
    finally:
        await cluster.close()


async def test_writes_of_failovers_do_not_wait_for_a_full_pool(control_plane: Any, namespace: str) -> None:
    """All connections of one instance are busy; another instance has its own."""
    busy, free = await make(control_plane.kubeconfig, pool=1), await make(control_plane.kubeconfig, pool=1)
    connector = None
    try:
        await busy.ping()
        connector = busy._client.rest_client.pool_manager.connector
        assert connector.limit == 1
        assert free._client.rest_client.pool_manager is not busy._client.rest_client.pool_manager
        storm = [asyncio.create_task(busy.list(SECRETS)) for _ in range(50)]
        await asyncio.wait_for(free.create(CONFIG_MAPS, config_map(namespace, "urgent")), 2)
        await asyncio.gather(*storm)
    finally:
        await busy.close()
        await free.close()


async def test_acting_as_a_service_account_has_its_name_its_groups_and_its_rights(
    control_plane: Any, cluster: KubernetesCluster, namespace: str
) -> None:
    """Only the user is named: the server knows the groups of a ServiceAccount, and we need no right to name any."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "shop"}}
    await asyncio.to_thread(control_plane.apply, account)
    shop = cluster.acting_as(f"{namespace}:shop")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    found = (await shop.create(SELF_REVIEWS, review))["status"]["userInfo"]
    assert found["username"] == f"system:serviceaccount:{namespace}:shop"
    groups = {"system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"}
    assert set(found["groups"]) == groups
    with pytest.raises(ForbiddenError, match="shop"):
        await shop.list(CONFIG_MAPS, namespace)
    await cluster.list(CONFIG_MAPS, namespace)  # which we still may ourselves


async def test_acting_as_needs_the_verb_impersonate_on_that_account_alone(control_plane: Any, namespace: str) -> None:
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}}
        for name in ("regent", "shop", "other")
    ]
    meta = {"namespace": namespace, "name": "impersonate"}
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["shop"], "verbs": ["impersonate"]}
    rbac = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "impersonate"},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "regent"}],
    }
    await asyncio.to_thread(control_plane.apply, [*accounts, role, binding])
    regent = await make(await asyncio.to_thread(control_plane.service_account_kubeconfig, namespace, "regent"))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    try:
        found = await regent.acting_as(f"{namespace}:shop").create(SELF_REVIEWS, review)
        assert found["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:shop"
        with pytest.raises(ForbiddenError, match="impersonate"):
            await regent.acting_as(f"{namespace}:other").create(SELF_REVIEWS, review)
    finally:
        await regent.close()


async def test_nothing_is_sent_by_a_client_that_is_closed_nor_by_one_that_acts_over_it(control_plane: Any) -> None:
    made = await make(control_plane.kubeconfig)
    other = made.acting_as("default:default")
    await made.close()
    for closed in (made, other):
        with pytest.raises(UnavailableError, match="closed"):
            await closed.ping()


@pytest.mark.parametrize("account", ["shop", ":shop", "shop:", "a:b:c", ""])
async def test_an_account_is_a_namespace_and_a_name(cluster: KubernetesCluster, account: str) -> None:
    with pytest.raises(ValueError, match="namespace:name"):
        cluster.acting_as(account)
