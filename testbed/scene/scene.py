"""One application in several simulated regions behind the gateway, protected by one FailoverPolicy.

A scene has a namespace, network namespaces and region servers of its own; their names begin with a prefix, so that
scenes share a cluster, a gateway and the operator without touching each other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from testbed.controlplane import ApiError, Cluster
from testbed.gateway import TraefikGateway, backends_of
from testbed.load import ClientLoop
from testbed.network import NetworkNamespaces
from testbed.regions import Region, Regions
from testbed.scene import manifests
from testbed.scene.waiting import eventually

Json = dict[str, Any]
_GROUP = "/apis/regent.dev/v1alpha1"
_ROUTES = "/apis/gateway.networking.k8s.io/v1"


class Scene:
    """Context manager: the application `app` in the regions `names`, served by the gateway, all weight on the first.

    Args:
        cluster: where the objects go; the definitions must be there.
        gateway: the data plane that serves the application's route.
        names: names of the regions, best first; they must be new to the cluster.
        app: name of the route, the Services and the policy.
        namespace: namespace of the application, made here.
        host: host name of the application; by default one that no other scene has.
        options: further options of the region servers, as `testbed.regions.Region` takes them.
    """

    def __init__(
        self,
        cluster: Cluster,
        gateway: TraefikGateway,
        names: Sequence[str],
        *,
        app: str = "shop",
        namespace: str = "shop",
        host: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.cluster = cluster
        self.gateway = gateway
        self.names = list(names)
        self.app = app
        self.namespace = namespace
        self.host = host or f"{app}.{namespace}.example.test"
        self.regions: Regions
        self._options = dict(options or {})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            network = stack.enter_context(NetworkNamespaces())
            self.regions = stack.enter_context(Regions(self.names, network=network, **self._options))
            self.cluster.create_namespace(self.namespace)
            stack.callback(self.cluster.delete_namespace, self.namespace)
            stack.callback(self._remove_objects)
            self.publish()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _remove_objects(self) -> None:
        """The policy before its Regions: a Region that is deleted while it is active would start a last run."""
        paths = [
            f"{self.path('failoverpolicies')}/{item['metadata']['name']}" for item in self.objects("failoverpolicies")
        ]
        for path in [*paths, *(f"{_GROUP}/regions/{name}" for name in self.names)]:
            try:
                self.cluster.api.delete(path)
            except ApiError as error:
                if error.status != 404:
                    raise

    # -- objects ------------------------------------------------------------------------------------------------

    def publish(self, weights: Mapping[str, int] | None = None) -> None:
        """Make Services, EndpointSlices and the route, and wait until the gateway serves them."""
        self.gateway.publish(
            self.app, backends_of(self.regions), namespace=self.namespace, weights=weights, hostnames=[self.host]
        )

    def apply_regions(self, **spec: Any) -> None:
        """Make the Region objects; `spec` as `manifests.region` takes it."""
        self.cluster.apply([self.region_manifest(name, **spec) for name in self.names])

    def region_manifest(self, name: str, **spec: Any) -> Json:
        """The Region object of one region, probed at its plain HTTP port unless `spec` says otherwise.

        Priorities fall with the order of names; without them measured latency would decide who is next.
        """
        defaults = {"endpoint": self.regions[name].http_url, "priority": 100 - 10 * self.names.index(name)}
        return manifests.region(name, **{**defaults, **spec})

    def policy_manifest(self, name: str = "", **spec: Any) -> Json:
        """The policy over all regions, with verification through the gateway."""
        return manifests.policy(
            name or self.app,
            self.names,
            namespace=self.namespace,
            route=self.app,
            gateway=self.gateway.url,
            host=self.host,
            **spec,
        )

    def apply_policy(self, **spec: Any) -> None:
        """Make the policy; `spec` as `manifests.policy` takes it."""
        self.cluster.apply(self.policy_manifest(**spec))

    def path(self, plural: str, name: str = "") -> str:
        """Path of one of Regent's namespaced objects, or of its collection."""
        return f"{_GROUP}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    @property
    def route_path(self) -> str:
        """Path of the application's HTTPRoute."""
        return f"{_ROUTES}/namespaces/{self.namespace}/httproutes/{self.app}"

    # -- looking ------------------------------------------------------------------------------------------------

    def region(self, name: str) -> Region:
        """The server of a region, for breaking it."""
        return self.regions[name]

    def objects(self, plural: str) -> list[Json]:
        """Regent's objects of a kind in the scene's namespace."""
        return list(self.cluster.api.get(self.path(plural))["items"])

    def policy(self, name: str = "") -> Json:
        """The policy as it stands now."""
        return self.cluster.api.get(self.path("failoverpolicies", name or self.app))

    def status(self, name: str = "") -> Json:
        """The policy's status as it stands now."""
        found: Json = self.policy(name).get("status") or {}
        return found

    def condition(self, kind: str, name: str = "") -> Json:
        """One condition of the policy; {} when it has none of that type."""
        conditions = self.status(name).get("conditions") or []
        return next((dict(item) for item in conditions if item["type"] == kind), {})

    def runs(self) -> list[Json]:
        """The Failover objects, oldest first."""
        return sorted(self.objects("failovers"), key=lambda run: str(run["metadata"]["creationTimestamp"]))

    def route(self) -> Json:
        """The application's HTTPRoute."""
        return self.cluster.api.get(self.route_path)

    def weights(self) -> dict[str, int]:
        """The route's weights by region."""
        by_service = self.gateway.weights(self.app, namespace=self.namespace)
        return {name: by_service[f"{self.app}-{name}"] for name in self.names}

    def shares(self) -> dict[str, float]:
        """The route's weights as percentages."""
        weights = self.weights()
        whole = sum(weights.values()) or 1
        return {name: 100.0 * weight / whole for name, weight in weights.items()}

    def active(self) -> list[str]:
        """Regions with weight."""
        return [name for name, weight in self.weights().items() if weight > 0]

    def health(self, name: str) -> str:
        """`status.health` of a Region; "" while it has none."""
        return str((self.cluster.api.get(f"{_GROUP}/regions/{name}").get("status") or {}).get("health", ""))

    def events(self) -> list[Json]:
        """Events about the scene's objects."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        return list(self.cluster.api.get(path)["items"])

    def client(self, *, rate: float = 50.0, timeout: float = 1.0) -> ClientLoop:
        """A loop of requests through the gateway; it takes new connections as they come, as many clients would."""
        return ClientLoop(self.gateway.url, host=self.host, rate=rate, timeout=timeout)

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait_adopted(self, *, timeout: float = 20.0) -> Json:
        """Wait until the policy is adopted, its weights stand and its targets are proved; gives its status.

        Every region is known by then: a region killed while another is not known yet would go to the third.
        """

        def settled() -> Json | None:
            status = self.status()
            targets = status.get("targets") or []
            good = bool(targets) and all(row["verification"] in ("Verified", "AcceptedOnly") for row in targets)
            calm = status.get("phase") in ("Steady", "Cooldown", "Suspended")
            known = all(self.health(name) not in ("", "Unknown") for name in self.names)
            return status if status.get("epoch") and good and calm and known else None

        try:
            return eventually(settled, what="the policy to be adopted", timeout=timeout) or {}
        except AssertionError as error:
            raise AssertionError(f"{error}; its status is {self.status()}") from None

    def wait_active(self, name: str, *, timeout: float = 15.0) -> float:
        """Wait until all weight is on one region; gives the monotonic time."""
        try:
            eventually(lambda: self.active() == [name], what=f"all weight on {name}", timeout=timeout, poll=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}; weights {self.weights()}; status {self.status()}") from None
        return time.monotonic()

    def wait_run(self, *, number: int = 1, timeout: float = 15.0) -> Json:
        """Wait until the policy has so many runs that are over and none that goes on; gives the last one."""

        def over() -> Json | None:
            runs = self.runs()
            ended = [run for run in runs if _complete(run)]
            held = self.status().get("operation")
            return ended[-1] if len(ended) >= number and len(ended) == len(runs) and not held else None

        try:
            return eventually(over, what=f"{number} finished runs", timeout=timeout) or {}
        except AssertionError as error:
            raise AssertionError(f"{error}; runs {self.runs()}; policy {self.status()}") from None


def _complete(run: Json) -> bool:
    conditions = (run.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Complete" and item["status"] == "True" for item in conditions)
