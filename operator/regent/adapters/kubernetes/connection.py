"""Finds the API server and the credentials for it, in the order that kubectl uses.

`--kubeconfig`, then `$KUBECONFIG` (several files are merged), then `~/.kube/config`, then the service account of the
pod. The result makes clients for `KubernetesCluster` and sessions for the watches, so both always agree. TLS is never
unverified: a kubeconfig that asks for that is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from regent.domain.errors import SettingsError

USER_AGENT = "regent"
REFRESH = 60.0
"""Seconds after which a token is read again. Bound service account tokens are replaced long before they expire."""


class Connection:
    """One API server with the credentials for it. Make it with `connect`."""

    def __init__(self, configuration: Any, loader: Any = None, *, source: str) -> None:
        self._configuration = configuration
        self._loader = loader
        self._loaded = asyncio.get_running_loop().time()
        self._refreshing = asyncio.Lock()
        self.source = source
        """Where the credentials came from, for a log line: a path, or "service account"."""

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return str(self._configuration.host)

    def client(self, *, pool: int) -> Any:
        """Return a new ApiClient with a connection pool of its own, of at most `pool` connections."""
        configuration = self._configuration
        previous, configuration.connection_pool_maxsize = configuration.connection_pool_maxsize, pool
        try:
            client = ApiClient(configuration)
        finally:
            configuration.connection_pool_maxsize = previous
        client.user_agent = USER_AGENT
        return client

    def session(self, *, listed: Callable[[str], None]) -> aiohttp.ClientSession:
        """Return a new HTTP session for watching, whose every request carries fresh credentials.

        Args:
            listed: called with the path of every request that is no watch when its answer comes.
        """
        configuration = self._configuration
        tls = RESTClientObject(configuration).ssl_context

        async def authorize(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            if authorization := await self.authorization():
                request.headers["Authorization"] = authorization
            if configuration.tls_server_name:
                request.server_hostname = configuration.tls_server_name
            response = await handler(request)
            if "watch" not in request.url.query:
                listed(request.url.path)
            return response

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            headers={"User-Agent": USER_AGENT},
            middlewares=(authorize,),
            proxy=configuration.proxy,
            trust_env=True,
        )

    async def authorization(self) -> str:
        """Return the value of the Authorization header, "" when a client certificate does it; fresh within a minute."""
        await self._refresh()
        return str(self._configuration.api_key.get("BearerToken", "")).strip()

    def renew(self, other: Connection) -> None:
        """Take over the token of `other`, which leads to the same API server; requests that are under way go on."""
        self._configuration.api_key = other._configuration.api_key
        self._loader, self._loaded = other._loader, other._loaded

    async def _refresh(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._loader is None or now - self._loaded < REFRESH or self._refreshing.locked():
            return
        async with self._refreshing:
            self._loaded = now
            await self._loader.load_and_set(self._configuration)


class _ServiceAccount:
    """Reads the pod's token again; the library's own loader does the rest."""

    def __init__(self) -> None:
        self._loader = InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME, try_refresh_token=False)

    async def load_and_set(self, configuration: Any) -> None:
        self._loader.load_and_set(configuration)


async def connect(*, kubeconfig: str = "", context: str = "") -> Connection:
    """Find the API server.

    Args:
        kubeconfig: path of a kubeconfig file, or several as in `$KUBECONFIG`; "" looks in kubectl's places.
        context: name of a context in it; "" uses its current one.

    Raises:
        SettingsError: there is nothing to connect to, or what was found cannot be used.
    """
    paths = kubeconfig or os.environ.get("KUBECONFIG", "")
    if not paths and (Path.home() / ".kube" / "config").exists():
        paths = str(Path.home() / ".kube" / "config")
    configuration = Configuration()
    # Retries belong to the callers, which look again before they act again.
    configuration.retries = None
    if not paths and not context and os.environ.get(SERVICE_HOST_ENV_NAME):
        return await _load(configuration, _ServiceAccount(), source="service account")
    if not paths:
        raise SettingsError("no cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")
    try:
        merged = KubeConfigMerger(paths).config
        if merged is None:
            raise SettingsError(f"kubeconfig {paths}: no such file")
        loader = KubeConfigLoader(config_dict=merged, active_context=context or None, config_base_path=None)
    except (ConfigException, OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(f"kubeconfig {paths}: {_brief(error)}") from error
    return await _load(configuration, loader, source=paths)


async def _load(configuration: Any, loader: Any, *, source: str) -> Connection:
    try:
        await loader.load_and_set(configuration)
    except (ConfigException, OSError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{source}: {_brief(error)}") from error
    if not configuration.verify_ssl:
        raise SettingsError(f"{source}: insecure-skip-tls-verify is refused; give the cluster's certificate authority")
    if not configuration.host.startswith("https://"):
        raise SettingsError(f"{source}: the server must be an https:// address, not {configuration.host}")
    return Connection(configuration, loader, source=source)


def _brief(error: Exception) -> str:
    """Name the fault without quoting file contents: YAML errors quote the line, which may hold a token."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"not YAML, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, ConfigException):
        return str(error).splitlines()[0][:200]
    return f"not a kubeconfig ({type(error).__name__})"
