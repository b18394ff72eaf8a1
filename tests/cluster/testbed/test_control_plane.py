"""Control planes as the tests, the demo and a developer use them: real programs, real requests."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from testbed.controlplane import ApiError, Component, ControlPlane, ControlPlaneError, local, registry
from testbed.controlplane.components import ComponentProcess
from testbed.network import NetworkNamespaces
from testbed.paths import cache_root
from testbed.toolchain import gateway_api_crds

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def is_gone(pid: int) -> bool:
    return registry.start_ticks(pid) is None


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane.start(name="own") as plane:
        yield plane


def test_a_start_serves_and_a_stop_leaves_nothing() -> None:
    with ControlPlane.start(name="once") as plane:
        version = plane.api.get("/version")
        assert version["gitVersion"].startswith("v1.")
        pids = [plane.process(component).pid for component in Component]
        assert "once" in {record.name for record in registry.running()}
        record = registry.records_directory() / f"{plane.directory.name}.json"
        assert record.is_file()
    assert all(is_gone(pid) for pid in pids)
    assert not plane.directory.exists()
    assert not record.exists()
    assert not (cache_root() / "logs" / plane.directory.name).exists()


def test_two_side_by_side_know_nothing_of_each_other() -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started = [pool.submit(ControlPlane.start, name=name) for name in ("left", "right")]
        planes = [future.result() for future in started]
    # The threads that started them are gone; the programs must not be.
    with planes[0] as left, planes[1] as right:
        left.apply(config_map("only-left"))
        assert left.api.get("/api/v1/namespaces/default/configmaps/only-left")
        with pytest.raises(ApiError) as caught:
            right.api.get("/api/v1/namespaces/default/configmaps/only-left")
        assert caught.value.status == 404
        assert left.server != right.server
        with pytest.raises(httpcore.ConnectError):
            stranger = type(left.access)(server=right.server, authority=left.access.authority)
            left.client(stranger.write(left.directory / "stranger", name="x")).get("/version")


def test_logs_are_kept_when_the_body_raises_and_the_path_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    class TroubleError(Exception):
        pass

    with pytest.raises(TroubleError), ControlPlane.start(name="trouble") as plane:
        raise TroubleError
    kept = cache_root() / "logs" / plane.directory.name
    assert str(kept) in capsys.readouterr().err
    assert (kept / "kube-apiserver.log").stat().st_size > 0
    assert not plane.directory.exists()


def test_a_service_account_may_do_what_its_role_says_and_no_more(plane: ControlPlane) -> None:
    namespace = plane.create_namespace("rbac")
    plane.apply(READER, namespace=namespace)
    plane.apply(config_map("seen", key="value"), namespace=namespace)
    kubeconfig = plane.service_account_kubeconfig(namespace, "reader")
    reader = plane.client(kubeconfig)
    try:
        # RBAC reaches the authorizer by a watch, a moment after it was written.
        plane.wait_for(lambda: can_read(reader, namespace), what="the role to be known", timeout=10)
        who = reader.create(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        )
        assert who["status"]["userInfo"]["username"] == "system:serviceaccount:rbac:reader"
        for forbidden in (
            lambda: reader.get(f"/api/v1/namespaces/{namespace}/secrets"),
            lambda: reader.get("/api/v1/namespaces/default/configmaps/seen"),
            lambda: reader.apply({**config_map("new"), "metadata": {"name": "new", "namespace": namespace}}),
        ):
            with pytest.raises(ApiError) as caught:
                forbidden()
            assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    finally:
        reader.close()


def can_read(reader: Any, namespace: str) -> bool:
    try:
        return bool(reader.get(f"/api/v1/namespaces/{namespace}/configmaps/seen")["data"] == {"key": "value"})
    except ApiError as error:
        assert error.status == 403
        return False


def test_a_missing_service_account_is_an_error(plane: ControlPlane) -> None:
    with pytest.raises(ApiError, match='serviceaccounts "nobody" not found'):
        plane.service_account_kubeconfig("default", "nobody")


def test_installed_definitions_are_served_at_once(plane: ControlPlane) -> None:
    names = plane.install_crds(gateway_api_crds())
    assert "httproutes.gateway.networking.k8s.io" in names
    namespace = plane.create_namespace("gateways")
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop"},
        "spec": {"rules": [{"backendRefs": [{"name": "eu", "port": 80}]}]},
    }
    (applied,) = plane.apply(route, namespace=namespace)
    assert applied["spec"]["rules"][0]["backendRefs"][0]["weight"] == 1
    with pytest.raises(ApiError, match="field not declared in schema"):
        plane.apply({**route, "spec": {"nonsense": 1}}, namespace=namespace)


def test_the_controllers_work(plane: ControlPlane) -> None:
    namespace = plane.create_namespace("short-lived")
    plane.apply(config_map("inside"), namespace=namespace)
    plane.delete_namespace(namespace)
    plane.delete_namespace(namespace)
    plane.wait_for(lambda: not exists(plane, f"/api/v1/namespaces/{namespace}"), what="its end", timeout=30)


def exists(plane: ControlPlane, path: str) -> bool:
    try:
        plane.api.get(path)
    except ApiError as error:
        assert error.status == 404
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_api_server_keeps_the_data_and_the_kubeconfigs(
    plane: ControlPlane, how: signal.Signals
) -> None:
    name = f"before-{how.name.lower()}"
    uid = plane.apply(config_map(name))[0]["metadata"]["uid"]
    pid = plane.process(Component.API_SERVER).pid
    plane.stop_apiserver(how=how)
    assert not plane.is_ready()
    plane.start_apiserver()
    assert plane.process(Component.API_SERVER).pid != pid
    assert plane.api.get(f"/api/v1/namespaces/default/configmaps/{name}")["metadata"]["uid"] == uid


def test_a_frozen_api_server_answers_nothing_until_it_is_thawed(plane: ControlPlane) -> None:
    impatient = type(plane.api)(plane.access, timeouts={"connect": 0.3, "read": 0.3, "write": 0.3, "pool": 0.3})
    try:
        plane.freeze()
        with pytest.raises(httpcore.TimeoutException):
            impatient.get("/readyz")
    finally:
        plane.thaw()
        impatient.close()
    plane.wait_for(plane.is_ready, what="the thawed API server", timeout=10)


def test_a_stop_of_a_frozen_control_plane_is_quick_and_complete() -> None:
    with ControlPlane.start(name="frozen") as plane:
        pids = [plane.process(component).pid for component in Component]
        for component in Component:
            plane.freeze(component)
        began = time.monotonic()
    # One that still waits for the frozen etcd would be killed only after its ten seconds of grace.
    assert time.monotonic() - began < 8
    assert all(is_gone(pid) for pid in pids)


def test_a_port_that_somebody_took_meanwhile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        choose = local._free_port
        offered = iter([taken])
        monkeypatch.setattr(local, "_free_port", lambda: next(offered, None) or choose())
        with ControlPlane.start(name="port") as plane:
            assert next(offered, None) is None
            assert plane.is_ready()
            assert not plane.server.endswith(f":{taken}")


def test_a_control_plane_in_a_namespace_can_be_cut_off_and_is_back_after_healing() -> None:
    with NetworkNamespaces(["eu"]) as network:
        region = network["eu"]
        with ControlPlane.start(name="eu", netns=region.full_name, advertise_address=region.address) as plane:
            assert plane.server.startswith(f"https://{region.address}:")
            inside = region.run(["readlink", "/proc/self/ns/net"]).strip()
            for component in Component:
                assert str(Path(f"/proc/{plane.process(component).pid}/ns/net").readlink()) == inside
            (subset,) = plane.api.get("/api/v1/namespaces/default/endpoints/kubernetes")["subsets"]
            assert subset["addresses"] == [{"ip": region.address}]
            region.cut()
            impatient = type(plane.api)(plane.access, timeouts={"connect": 0.3, "read": 0.3, "write": 1.0, "pool": 1.0})
            with pytest.raises(httpcore.ConnectTimeout):
                impatient.get("/readyz")
            impatient.close()
            region.heal()
            plane.wait_for(plane.is_ready, what="the healed region", timeout=10)


def test_a_program_that_dies_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo the disk is full; exit 3"]
    process = ComponentProcess(Component.ETCD, argv, log=tmp_path / "logs" / "etcd.log")
    with pytest.raises(ControlPlaneError, match=r"etcd ended with 3\.(.|\n)*the disk is full"):
        process.wait_ready(lambda: False, timeout=10)
    process.end()


def test_secrets_are_for_their_owner_only(plane: ControlPlane) -> None:
    assert plane.directory.stat().st_mode & 0o077 == 0
    assert plane.kubeconfig.stat().st_mode & 0o077 == 0
    assert plane.directory.stat().st_uid == os.getuid()
