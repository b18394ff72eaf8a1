"""What the replication tests work with: clusters, policies, the operator's process, and looking until it is so."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from testbed.controlplane import ApiError, ControlPlane

ROOT = Path(__file__).parents[3]
HUB, EU, US = "hub", "eu", "us"
SYSTEM = "regent-system"
API = "regent.dev/v1alpha1"
PATIENCE = 60.0
Json = dict[str, Any]


def region(name: str, plane: ControlPlane, **spec: Any) -> Json:
    """A Region that is healthy while its API server takes connections."""
    port = urlsplit(plane.server).port
    probe = {
        "name": "api", "tcp": {"port": port}, "url": f"tcp://127.0.0.1:{port}", "interval": "250ms",
        "timeout": "1s", "retryInterval": "100ms", "successThreshold": 1,
    }  # fmt: skip
    return {
        "apiVersion": API,
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {"endpoint": plane.server, "probes": [probe], "thresholds": {"recoveryPeriod": "1s"}, **spec},
    }


def prepare_hub(hub: ControlPlane) -> None:
    """Definitions, the operator's namespace, and the Region of what lives in the hub itself."""
    hub.install_crds(ROOT / "crds")
    hub.create_namespace(SYSTEM)
    hub.apply(region(HUB, hub))


def prepare_member(hub: ControlPlane, plane: ControlPlane, name: str) -> None:
    """What a person applies in a member cluster, and its Region with its kubeconfig in the hub."""
    member = ROOT / "deploy" / "member"
    plane.apply(member / "account.yaml")
    plane.apply(member / "roles")
    plane.apply(member / "epochs.yaml")
    kubeconfig = plane.service_account_kubeconfig(SYSTEM, "regent").read_text(encoding="utf-8")
    data = {"kubeconfig": base64.b64encode(kubeconfig.encode()).decode()}
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": SYSTEM, "name": name}, "data": data})
    uid = plane.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    reference = {"namespace": SYSTEM, "name": name, "key": "kubeconfig"}
    hub.apply(region(name, plane, cluster={"kubeconfigSecretRef": reference, "uid": uid}))


class Operator:
    """`regent run` as a process of its own, with the hub's own kubeconfig unless another one is given."""

    def __init__(
        self,
        hub: ControlPlane,
        directory: Path,
        *,
        kubeconfig: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._kubeconfig = kubeconfig or hub.kubeconfig
        # One replica, which may be killed and started at once: there is nobody to wait for.
        self._settings = {"REGENT_LEADER_ELECTION__ENABLED": "false", **(settings or {})}
        self._log = directory / "operator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive:
            return
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        command = [sys.executable, "-m", "regent", "run", "--kubeconfig", str(self._kubeconfig)]
        environment = {**os.environ, **self._settings}
        with self._log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*command, "--http-address", f"127.0.0.1:{self._port}"], stdout=stream, stderr=stream, env=environment
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it where it stands, and wait for nothing."""
        if self._process is not None:
            self._process.kill()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for that."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait(10)

    def ended(self) -> int | None:
        """The exit code of the process; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def metrics(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry these labels."""
        answer = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=10, trust_env=False)
        lines = [line for line in answer.text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.split()[-1]) for line in lines if all(text in line for text in wanted))

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        if self._process is None:
            raise ProcessLookupError("it has not been started")
        return self._process.pid

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.metrics("process_resident_memory_bytes"))

    def text(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.text().splitlines()[-60:])


@dataclass
class Bench:
    """One test's namespace in all clusters."""

    namespace: str
    planes: Mapping[str, ControlPlane]
    operator: Operator

    def config_map(self, region: str, name: str, data: Mapping[str, str] | None = None, **metadata: Any) -> Json:
        """Apply a ConfigMap, as somebody other than the operator."""
        obj = {
            "apiVersion": "v1", "kind": "ConfigMap", "data": dict(data or {"key": "value"}),
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
        }  # fmt: skip
        return self.planes[region].apply(obj)[0]

    def apply(self, region: str, *objs: Json) -> None:
        """Apply objects in the namespace."""
        self.planes[region].apply(list(objs), namespace=self.namespace)

    def path(self, plural: str, name: str = "", *, api: str = "v1", namespace: str = "") -> str:
        """The path of an object, or of all of its kind."""
        root = f"/apis/{api}" if "/" in api else f"/api/{api}"
        return f"{root}/namespaces/{namespace or self.namespace}/{plural}/{name}".rstrip("/")

    def get(self, region: str, plural: str, name: str, *, api: str = "v1", namespace: str = "") -> Json | None:
        """The object, or None."""
        try:
            found: Json = self.planes[region].api.get(self.path(plural, name, api=api, namespace=namespace))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def delete(self, region: str, plural: str, name: str, *, api: str = "v1") -> None:
        """Delete an object."""
        self.planes[region].api.delete(self.path(plural, name, api=api))

    def data(self, region: str, name: str, *, namespace: str = "") -> Json | None:
        """The data of a ConfigMap, or None when it is not there."""
        found = self.get(region, "configmaps", name, namespace=namespace)
        return None if found is None else found.get("data") or {}

    def policy(self, name: str = "shop", **spec: Any) -> Json:
        """Make a ReplicationPolicy: ConfigMaps from the hub to `eu` unless `spec` says otherwise."""
        wanted = {
            "source": {"region": HUB},
            "targets": [{"region": EU}],
            "resources": [{"category": "Config", "kinds": [{"kind": "ConfigMap"}]}],
            "prune": {"gracePeriod": "0s", "maxPercent": 100},
            **spec,
        }
        metadata = {"name": name, "namespace": self.namespace}
        return self.planes[HUB].apply(
            {"apiVersion": API, "kind": "ReplicationPolicy", "metadata": metadata, "spec": wanted}
        )[0]

    def remove_policies(self) -> None:
        """Delete the test's policies."""
        for plural in ("failoverpolicies", "replicationpolicies"):
            for item in self.planes[HUB].api.get(self.path(plural, api=API))["items"]:
                with contextlib.suppress(ApiError):
                    self.planes[HUB].api.delete(self.path(plural, item["metadata"]["name"], api=API))

    def status(self, name: str = "shop") -> Json:
        """The status of a policy."""
        found = self.get(HUB, "replicationpolicies", name, api=API)
        return dict((found or {}).get("status") or {})

    def row(self, region: str = EU, name: str = "shop") -> Json:
        """The status of one target."""
        return next((row for row in self.status(name).get("targets") or () if row["region"] == region), {})

    def failover_status(self, name: str = "shop") -> Json:
        """The status of a FailoverPolicy."""
        found = self.get(HUB, "failoverpolicies", name, api=API)
        return dict((found or {}).get("status") or {})

    def condition(self, kind: str, name: str = "shop") -> Json:
        """A condition of a policy."""
        return next((item for item in self.status(name).get("conditions") or () if item["type"] == kind), {})

    def in_state(self, state: str, name: str = "shop", *, within: float = PATIENCE) -> Json:
        """Wait until the policy has the state, and return its status."""

        def found() -> Json | None:
            status = self.status(name)
            return status if status.get("state") == state else None

        return self.until(found, f"state {state} of {name}", within=within, show=lambda: self.status(name))

    def until(
        self, true: Callable[[], Any], what: str, *, within: float = PATIENCE, show: Callable[[], Any] | None = None
    ) -> Any:
        """Wait until `true()` is; connections that fail count as not yet."""
        deadline = time.monotonic() + within
        while True:
            with contextlib.suppress(httpx.TransportError):
                if found := true():
                    return found
            if time.monotonic() > deadline:
                seen = show() if show else self.status()
                raise AssertionError(f"not within {within:.0f}s: {what}; {seen}\n{self.operator.tail()}")
            time.sleep(0.05)

    def forget_hubs(self) -> None:
        """Take back that `us` has been a hub, and what that has left in all clusters: the next test begins as ever."""
        plane = self.planes[US]
        for plural in ("failovers", "failoverpolicies", "replicationpolicies"):
            for item in plane.api.get(f"/apis/{API}/{plural}")["items"]:
                metadata = item["metadata"]
                path = f"/apis/{API}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
                plane.api.patch(path, {"metadata": {"finalizers": None}})
                if not metadata.get("deletionTimestamp"):
                    plane.api.delete(path)
        for name in (HUB, EU, US):
            self._drop(US, f"/apis/{API}/regions/{name}")
            self._drop(name, f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-epochs")
            self._drop(name, f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-hub-role")
            if name != HUB:
                self._drop(US, f"/api/v1/namespaces/{SYSTEM}/secrets/{name}")
        self.operator.start()

    def _drop(self, region: str, path: str) -> None:
        try:
            self.planes[region].api.delete(path)
        except ApiError as error:
            if error.status != 404:
                raise
