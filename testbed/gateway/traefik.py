"""Traefik as the gateway of tests and demo, running beside them against a real API server.

Its flags are what makes a dead region visible in time. By default Traefik waits for ever for an answer and 30 s for a
connection, and takes up to 2 s to see a second change of a route. A request time-out on the route itself is ignored.
Traefik does not check its backends: a dead region keeps its share until somebody changes the weights.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.controlplane import ApiError, Cluster
from testbed.gateway.manifests import (
    CONTROLLER,
    INSTANCE_LABEL,
    Backend,
    gateway_objects,
    http_route,
    region_services,
    service_name,
)
from testbed.gateway.metrics import Sample, parse_metrics
from testbed.network import spawn
from testbed.network.processes import stop
from testbed.toolchain import ensure, gateway_api_crds

_POLL = 0.02
_STARTS = 3  # a free port may be taken by somebody else before Traefik binds it
_ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}"


class GatewayError(RuntimeError):
    """The gateway did not start, or did not come to serve what it was told; the message has its last words."""


class TraefikGateway:
    """Context manager: a gateway that serves its own GatewayClass, so that several share one API server.

    Installs the Gateway API's resource definitions (unless they are there), the class, and one Gateway whose listener
    is at `url`. With `name` equal for two gateways of one API server they would take each other's routes.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        name: str = "regent-traefik",
        namespace: str = "default",
        address: str = "127.0.0.1",
        kubeconfig: Path | None = None,
        throttle: str = "100ms",
        dial_timeout: str = "500ms",
        response_timeout: str = "1s",
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.port = 0
        self._cluster = cluster
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self._admin_port = 0
        self._timing = (throttle, dial_timeout, response_timeout)
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = Path()

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> TraefikGateway:
        program = ensure("traefik")
        with ExitStack() as stack:
            self.log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-traefik-"))) / "log"
            install_gateway_api(self._cluster)
            stack.callback(self.stop)
            for attempt in range(1, _STARTS + 1):
                self.port, self._admin_port = _free_ports(self.address, 2)
                try:
                    self.start(program)
                    break
                except GatewayError as error:
                    if attempt == _STARTS or "address already in use" not in str(error):
                        raise
            self._cluster.apply(gateway_objects(name=self.name, namespace=self.namespace, port=self.port))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        """The process, for SIGSTOP and the like."""
        if self._process is None:
            raise RuntimeError("the gateway does not run")
        return self._process.pid

    def start(self, program: Path | None = None, *, timeout: float = 20.0) -> None:
        """Start Traefik on its ports and wait until it answers; also after `stop`."""
        with self.log.open("ab") as log:
            self._process = spawn(
                self._arguments(program or ensure("traefik")),
                stdout=log,
                stderr=log,
                environment={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
                directory=self.log.parent,
            )
        self._wait(self._answers, what="answer", timeout=timeout)

    def stop(self) -> None:
        """End Traefik; its objects stay."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    # -- routes -------------------------------------------------------------------------------------------------

    def publish(
        self,
        application: str,
        backends: Sequence[Backend],
        *,
        namespace: str = "default",
        weights: Mapping[str, int] | None = None,
        hostnames: Sequence[str] = (),
    ) -> str:
        """Make Services, EndpointSlices and the HTTPRoute of an application, and wait until the gateway serves it.

        `weights` are by region (default: all to the first). Gives the route's path at the API server.
        """
        if weights is None:
            weights = {backend.region: 100 if number == 0 else 0 for number, backend in enumerate(backends)}
        route = http_route(
            application,
            weights,
            namespace=namespace,
            gateway=self.name,
            gateway_namespace=self.namespace,
            hostnames=hostnames,
        )
        self._cluster.apply([*region_services(application, backends, namespace=namespace), route])
        host = hostnames[0] if hostnames else ""
        # An accepted route is not yet a served one: the status is written before the proxy has the new weights.
        self._wait(lambda: self.fetch("/", host=host)[1] != "", what=f"serve {namespace}/{application}", timeout=10.0)
        return _ROUTES.format(namespace=namespace, name=application)

    def set_weights(self, application: str, weights: Mapping[str, int], *, namespace: str = "default") -> float:
        """Write a route's weights by hand, in one patch; gives the monotonic time at which the API server had it."""
        path = _ROUTES.format(namespace=namespace, name=application)
        region_of = {service_name(application, region): region for region in weights}
        operations: list[dict[str, Any]] = []
        for number, rule in enumerate(self._cluster.api.get(path)["spec"]["rules"]):
            for position, reference in enumerate(rule.get("backendRefs", [])):
                if reference["name"] in region_of:
                    base = f"/spec/rules/{number}/backendRefs/{position}"
                    operations.append({"op": "test", "path": f"{base}/name", "value": reference["name"]})
                    weight = weights[region_of[reference["name"]]]
                    operations.append({"op": "replace", "path": f"{base}/weight", "value": weight})
        self._cluster.api.patch(path, operations, content_type="application/json-patch+json")
        return time.monotonic()

    def weights(self, application: str, *, namespace: str = "default") -> dict[str, int]:
        """The weights in a route's first rule, by the Service's name."""
        route = self._cluster.api.get(_ROUTES.format(namespace=namespace, name=application))
        return {entry["name"]: entry["weight"] for entry in route["spec"]["rules"][0]["backendRefs"]}

    def route_conditions(self, application: str, *, namespace: str = "default") -> dict[str, str]:
        """What Traefik says about a route: status by type of condition; empty when it has said nothing yet."""
        route = self._cluster.api.get(_ROUTES.format(namespace=namespace, name=application))
        for parent in route.get("status", {}).get("parents", []):
            if parent["controllerName"] == CONTROLLER and parent["parentRef"]["name"] == self.name:
                return {condition["type"]: condition["status"] for condition in parent["conditions"]}
        return {}

    # -- requests -----------------------------------------------------------------------------------------------

    def fetch(self, path: str = "/", *, host: str = "", timeout: float = 5.0) -> tuple[int, str]:
        """One request through the gateway: its status, and the region that answered ("" when none did)."""
        request = urllib.request.Request(self.url + path, headers={"Host": host} if host else {})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
                return answer.status, answer.headers.get("x-region", "")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("x-region", "")

    def metrics(self) -> list[Sample]:
        """Traefik's own metrics, now."""
        return parse_metrics(self._admin("/metrics"))

    def reloads(self) -> int:
        """How many configurations the proxy has taken over since its start."""
        return int(sum(sample.value for sample in self.metrics() if sample.name == "traefik_config_reloads_total"))

    def requests_by_region(
        self, application: str, regions: Sequence[str], *, namespace: str = "default"
    ) -> dict[str, int]:
        """Requests that the proxy has sent to each region for an application, by its own count."""
        counts = dict.fromkeys(regions, 0)
        for sample in self.metrics():
            if sample.name != "traefik_service_requests_total":
                continue
            for region in regions:
                if f"-svc-{namespace}-{service_name(application, region)}-" in sample.labels.get("service", ""):
                    counts[region] += int(sample.value)
        return counts

    # -----------------------------------------------------------------------------------------------------------

    def _arguments(self, program: Path) -> list[str]:
        throttle, dial_timeout, response_timeout = self._timing
        return [
            str(program),
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.labelselector={INSTANCE_LABEL}={self.name}",
            f"--providers.kubernetesgateway.statusaddress.ip={self.address}",
            f"--providers.providersthrottleduration={throttle}",
            f"--entrypoints.web.address={self.address}:{self.port}",
            f"--entrypoints.traefik.address=127.0.0.1:{self._admin_port}",
            f"--serverstransport.forwardingtimeouts.dialtimeout={dial_timeout}",
            f"--serverstransport.forwardingtimeouts.responseheadertimeout={response_timeout}",
            "--ping=true",
            "--metrics.prometheus=true",
            "--metrics.prometheus.addserviceslabels=true",
            "--api.insecure=true",
            "--api.dashboard=false",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.format=json",
        ]

    def _answers(self) -> bool:
        try:
            return self._admin("/ping") == "OK"
        except OSError:
            return False

    def _admin(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin_port}{path}", timeout=5.0) as answer:
            content: bytes = answer.read()
        return content.decode()

    def _wait(self, condition: Callable[[], bool], *, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise GatewayError(f"Traefik did not {what} within {timeout:.0f} s:\n{self._last_words()}")
            time.sleep(_POLL)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def install_gateway_api(cluster: Cluster) -> None:
    """Install the Gateway API's resource definitions unless the API server has them already."""
    try:
        cluster.api.get("/apis/gateway.networking.k8s.io/v1")
    except ApiError as error:
        if error.status != 404:
            raise
        cluster.install_crds(gateway_api_crds())


def _free_ports(address: str, count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind((address, 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
