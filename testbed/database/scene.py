"""A scene whose regions are databases: a writer service in each behind the gateway, PostgreSQL under Patroni below it.

The first region has the primary at the start. Clients write through the gateway (`writer`), the policy promotes the
database before it moves their traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

from testbed.database.cluster import Databases
from testbed.database.environment import DatabaseError
from testbed.database.region import Database
from testbed.database.writer import WriterLoop
from testbed.gateway import Backend
from testbed.network import NetworkNamespaces
from testbed.scene import Scene, manifests

Json = dict[str, Any]
CREDENTIALS = "patroni"
"""Name of the Secret with the credentials of Patroni's REST API."""


class DatabaseScene(Scene):
    """Context manager, as `Scene`; `databases[name]` is a region's database, for breaking it."""

    databases: Databases
    network: NetworkNamespaces

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.network = stack.enter_context(NetworkNamespaces())
            self.databases = stack.enter_context(Databases(self.names, network=self.network, application=self.app))
            self.cluster.create_namespace(self.namespace)
            stack.callback(self.cluster.delete_namespace, self.namespace)
            stack.callback(self._remove_objects)
            self.cluster.apply(self.credentials())
            self.publish()
            self._stack = stack.pop_all()
        return self

    def publish(self, weights: Mapping[str, int] | None = None) -> None:
        """Make Services, EndpointSlices and the route, and wait until the gateway serves them."""
        backends = [Backend(region=item.name, address=item.address, port=item.app_port) for item in self.databases]
        self.gateway.publish(self.app, backends, namespace=self.namespace, weights=weights, hostnames=[self.host])

    def region_manifest(self, name: str, **spec: Any) -> Json:
        """The Region object of one region: healthy while the writer service there has a database that answers."""
        defaults = {"endpoint": self.databases[name].app_url, "priority": 100 - 10 * self.names.index(name)}
        return manifests.region(name, **{**defaults, **spec})

    def policy_manifest(self, name: str = "", **spec: Any) -> Json:
        """The policy over all regions, with the promotion step `db`."""
        return super().policy_manifest(name, **{"promotion": self.promotion(), **spec})

    def promotion(self, *, hosts: bool = False) -> Json:
        """The policy's `promotion`. With `hosts` it names the databases' hosts, which agents need."""
        clusters = [
            {"region": item.name, "url": item.patroni_url, **({"host": item.address} if hosts else {})}
            for item in self.databases
        ]
        patroni = {"clusters": clusters, "credentialsSecretRef": {"name": CREDENTIALS}}
        return {"steps": [{"name": "db", "type": "Patroni", "timeout": "30s", "patroni": patroni}]}

    def grant(self) -> None:
        """Do what a user does who gives Regent this one Secret and nothing more."""
        meta = {"name": "regent-patroni", "namespace": self.namespace}
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [CREDENTIALS], "verbs": ["get"]}
        api = "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
        binding = {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "regent-patroni"},
            "subjects": [{"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}],
        }
        self.cluster.apply([role, binding])

    def writer(self, *, interval: float = 0.02, first: int = 1) -> WriterLoop:
        """A client that writes increasing integers through the gateway."""
        return WriterLoop(self.gateway.url, host=self.host, interval=interval, first=first)

    def neighbour(self, name: str, *, interval: float = 0.05, first: int) -> WriterLoop:
        """A client inside a region, which writes to the database there past the gateway, whatever is cut."""
        database = self.databases[name]
        url = f"http://127.0.0.1:{database.app_port}"
        return WriterLoop(url, interval=interval, first=first, namespace=database.namespace)

    def primary(self) -> Database:
        """The one database that takes writes; AssertionError when it is not exactly one."""
        found = [item for item in self.databases if item.status("/primary")[0] == 200]
        if len(found) != 1:
            raise AssertionError(f"primaries are {[item.name for item in found]}")
        return found[0]

    def alike(self) -> bool:
        """Whether all databases answer, and have the same integers."""
        try:
            first, *others = [database.numbers() for database in self.databases]
        except DatabaseError:
            return False  # one of them is being started
        return all(numbers == first for numbers in others)

    def credentials(self) -> Json:
        """The Secret with the credentials of Patroni's REST API."""
        secrets = self.databases.secrets
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": CREDENTIALS, "namespace": self.namespace},
            "stringData": {"username": secrets.rest_user, "password": secrets.rest_password},
        }
