"""Member clusters: the Kubernetes clusters of the regions, reached with kubeconfigs out of Secrets.

A kubeconfig is a program in disguise: exec and auth-provider run commands, file paths read this machine's files, and
insecure TLS hands the token to whoever answers. Whoever may write the Secret must not get any of that, so such a
kubeconfig is refused before it is used: only inline credentials over verified TLS are accepted.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.kube_config import KubeConfigLoader

from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import Connection
from regent.engine import resources
from regent.engine.ports import Clock, Metrics

TIMEOUT = 5.0
"""Seconds for one request to a member cluster."""

POOL = 4
"""Connections to one member cluster."""

_CLUSTER_FIELDS = {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify", "extensions"}
_USER_FIELDS = {"client-certificate-data", "client-key-data", "token", "extensions"}

# Not a call on the hub: under this name it adds nothing to the access rules that are made from the source.
_HOME_OF_THE_UID = resources.NAMESPACES


@dataclass(frozen=True, slots=True)
class _Member:
    """The client of a region. `digest`: of its kubeconfig; `place`: of what stays when a token is renewed."""

    digest: str
    place: str
    connection: Connection
    cluster: KubernetesCluster


class MemberClusterPool:
    """Implements `regent.engine.region_clusters.MemberClusters` and `regent.engine.region_access.MemberClients`: one
    client for each region, as long as its kubeconfig stays the same.

    Args:
        timeout: seconds for one request.
        pool: connections to one cluster; 0: as many as there are requests.
        make: which client is made.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        timeout: float = TIMEOUT,
        pool: int = POOL,
        make: type[KubernetesCluster] = KubernetesCluster,
    ) -> None:
        self._timeout = timeout
        self._pool = pool
        self._make = make
        self._listener: Callable[[str, bool], None] = lambda _region, _answered: None
        self._clock = clock
        self._metrics = metrics
        self._members: dict[str, _Member] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def identify(self, region: str, kubeconfig: str) -> str:
        """Return the uid of kube-system; see the port for the errors."""
        member = await self._member(region, kubeconfig)
        found = await member.get(_HOME_OF_THE_UID, "", "kube-system")
        return str(found["metadata"]["uid"])

    async def client(self, region: str, kubeconfig: str, *, account: str = "") -> KubernetesCluster:
        """Return the region's client; see the port. It is closed when the kubeconfig changes or by `forget`."""
        member = await self._member(region, kubeconfig)
        return member.acting_as(account) if account else member

    def subscribe(self, listener: Callable[[str, bool], None]) -> None:
        """Tell `listener` the region of each answer (True) and of each request that timed out (False)."""
        self._listener = listener

    async def forget(self, region: str) -> None:
        """Close the region's connections."""
        member = self._members.pop(region, None)
        if member is not None:
            await member.cluster.close()

    async def close(self) -> None:
        """Close all connections."""
        for region in list(self._members):
            await self.forget(region)

    async def _member(self, region: str, kubeconfig: str) -> KubernetesCluster:
        digest = hashlib.sha256(kubeconfig.encode()).hexdigest()
        # One at a time: of two clients made at once for a region, one would never be closed.
        async with self._opening.setdefault(region, asyncio.Lock()):
            known = self._members.get(region)
            if known is not None and known.digest == digest:
                return known.cluster
            try:
                connection = await member_connection(kubeconfig, source=f"kubeconfig of region {region}")
                place = _place(kubeconfig)
            except ValueError:
                await self.forget(region)
                raise
            if known is not None and known.place == place:
                # Another token for the same server: watches go on, and nothing is listed anew.
                known.connection.renew(connection)
                self._members[region] = replace(known, digest=digest)
                return known.cluster
            await self.forget(region)
            member = self._client(region, connection)
            self._members[region] = _Member(digest, place, connection, member)
            return member

    def _client(self, region: str, connection: Connection) -> KubernetesCluster:
        try:
            return self._make(
                connection,
                clock=self._clock,
                metrics=self._metrics,
                timeout=self._timeout,
                pool=self._pool,
                heard=lambda answered: self._listener(region, answered),
            )
        except (ssl.SSLError, OSError) as error:
            raise ValueError("its certificates or its key cannot be loaded, or do not belong together") from error


async def member_connection(kubeconfig: str, *, source: str) -> Connection:
    """Return a connection made of a kubeconfig's text.

    Raises:
        ValueError: it is refused; the message names the field and never its value.
    """
    config = _checked(kubeconfig)
    configuration = Configuration()
    configuration.retries = None
    loader = KubeConfigLoader(config_dict=config, config_base_path=None)
    try:
        await loader.load_and_set(configuration)
    except (ConfigException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError("its context, cluster or user is incomplete or its data is not base64 PEM") from error
    return Connection(configuration, loader, source=source)


def _checked(kubeconfig: str) -> dict[str, Any]:
    """Return the kubeconfig as a dict with nothing in it but what is safe to load."""
    try:
        config = yaml.safe_load(kubeconfig)
    except yaml.YAMLError as error:
        # Without the parser's words: they quote the line, which may be the token.
        raise ValueError("it is not YAML") from error
    if not isinstance(config, dict):
        raise ValueError("it is not a kubeconfig")
    name = config.get("current-context")
    context = _entry(config, "contexts", name, "context")
    cluster = _entry(config, "clusters", context.get("cluster"), "cluster")
    user = _entry(config, "users", context.get("user"), "user")
    _refuse_unknown(cluster, _CLUSTER_FIELDS, "cluster")
    _refuse_unknown(user, _USER_FIELDS, "user")
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError("insecure-skip-tls-verify is not allowed: put the certificate authority into it")
    if not str(cluster.get("server", "")).startswith("https://"):
        raise ValueError("the cluster's server must be an https:// address")
    for entry in (cluster, user):
        _check_data(entry)
    if not user.get("token") and not (user.get("client-certificate-data") and user.get("client-key-data")):
        raise ValueError("the user needs a token, or client-certificate-data with client-key-data")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "member",
        "contexts": [{"name": "member", "context": {"cluster": "member", "user": "member"}}],
        "clusters": [{"name": "member", "cluster": cluster}],
        "users": [{"name": "member", "user": user}],
    }


def _place(kubeconfig: str) -> str:
    """Return a hash of a kubeconfig without its token: server, authorities, client certificate."""
    config = _checked(kubeconfig)
    [user] = config["users"]
    rest = {name: value for name, value in user["user"].items() if name != "token"}
    said = json.dumps([config["clusters"], rest, "token" in user["user"]], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _entry(config: dict[str, Any], listing: str, name: Any, key: str) -> dict[str, Any]:
    """Return `config[listing]`'s entry of this name."""
    entries = config.get(listing)
    for item in entries if isinstance(entries, list) else ():
        if isinstance(item, dict) and item.get("name") == name and isinstance(item.get(key), dict):
            return dict(item[key])
    raise ValueError(f"current-context leads to no entry in {listing}")


def _check_data(entry: dict[str, Any]) -> None:
    """Refuse inline data that is not PEM in base64: the library would take an empty CA for "trust the system's"."""
    for name, value in entry.items():
        if not name.endswith("-data"):
            continue
        try:
            data = base64.b64decode(str(value), validate=True)
        except binascii.Error:
            data = b""
        if b"-----BEGIN " not in data:
            raise ValueError(f"{name} is not PEM in base64")


def _refuse_unknown(entry: dict[str, Any], allowed: set[str], what: str) -> None:
    """Refuse every field that is not known to be harmless, and say what to do about those that people use."""
    for name in sorted(map(str, entry)):
        if name in allowed:
            continue
        if name in ("exec", "auth-provider"):
            raise ValueError(f"{name} is not allowed: it runs a program; give the user a token or a client certificate")
        if name in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
            raise ValueError(f"{name} is a file path, which is not allowed: put the data itself into the kubeconfig")
        raise ValueError(f"{what}.{name[:40]} is not allowed")
