"""The Kubernetes API server behind `ports.Cluster`, for every resource through one code path.

Objects stay plain dicts as the server wrote them: no models, so no field that Regent does not know is lost on the way.
Every request has a time-out. Errors become `regent.domain.errors` here and nowhere else. An instance has a connection
pool of its own: the writes of a failover use a second one, so that a storm of status writes cannot delay them.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import quote, urlencode

import aiohttp

from regent.adapters.kubernetes.connection import Connection
from regent.adapters.kubernetes.errors import refused, unreachable
from regent.domain.errors import ClusterError, NotFoundError
from regent.engine.ports import Clock, Metrics, Object
from regent.engine.resources import Resource

FIELD_MANAGER = "regent"
MERGE_PATCH = "application/merge-patch+json"
CHUNK = 500
"""Objects per answer of a LIST."""
GONE = 410
_SERVER = Resource("", "", "", "Server", namespaced=False)


class KubernetesCluster:
    """Implements `regent.engine.ports.Cluster`.

    Args:
        connection: where the API server is.
        timeout: seconds for one request, from connecting to the last byte; each chunk of a LIST is a request.
        pool: connections that may be open at the same time.
        field_manager: whose name the written fields carry in managedFields.
        heard: called with True when the server has answered, whatever it was, and with False when it has let a request
            time out and answered no other meanwhile.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock,
        metrics: Metrics,
        timeout: float = 5.0,
        pool: int = 32,
        field_manager: str = FIELD_MANAGER,
        heard: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._client = connection.client(pool=pool)
        self._clock = clock
        self._metrics = metrics
        self._managed = {"fieldManager": field_manager}
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=timeout)
        self.last_answer: float | None = None
        """Monotonic time of the API server's last answer, whatever it was; None before the first."""
        self._heard = heard
        self._dated: tuple[str, float] | None = None
        self._impersonation: dict[str, str] = {}
        self._discovered: dict[tuple[str, str], Resource] = {}
        self._closed = asyncio.Event()

    def acting_as(self, account: str) -> KubernetesCluster:
        """Return a client that acts as the ServiceAccount `account` (`namespace:name`) over the same connections.

        The server adds the account's groups by itself when only the user is named, so that the verb `impersonate` on
        that ServiceAccount is all that our own account needs: a right to impersonate groups would reach much further.
        """
        namespace, separator, name = account.partition(":")
        if not (namespace and separator and name) or ":" in name:
            raise ValueError(f"{account!r} is no ServiceAccount: write namespace:name")
        other = copy.copy(self)
        other._impersonation = {"Impersonate-User": f"system:serviceaccount:{namespace}:{name}"}
        # What is served is the same for everybody, but each account is to be refused by its own rights.
        other._discovered = {}
        return other

    def clock_offset(self) -> float | None:
        """Seconds that the API server's clock was ahead of ours at its last answer, to the second; None: not known."""
        date, wall = self._dated or ("", 0.0)
        try:
            return parsedate_to_datetime(date).timestamp() - wall
        except ValueError:
            return None

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Read one object past any cache; NotFoundError when it is not there."""
        return cast(Object, await self._request("GET", resource, object_path(resource, namespace, name), name=name))

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> Sequence[Object]:
        """List objects (all namespaces when `namespace` is ""), in chunks, consistently."""
        path = object_path(resource, namespace)
        query = {"labelSelector": label_selector} if label_selector else {}
        try:
            return await self._list(resource, path, {**query, "limit": str(CHUNK)})
        except ClusterError as error:
            if error.status != GONE:
                raise
        # The server compacted the version that the chunks were of. Once more in one piece, which cannot expire.
        return await self._list(resource, path, query)

    async def create(self, resource: Resource, obj: Object) -> Object:
        """POST; AlreadyExistsError when the name is taken. The API drops `status` here."""
        namespace, name = _where(resource, obj)
        path = object_path(resource, namespace)
        return cast(Object, await self._request("POST", resource, path, self._managed, obj, name=name))

    async def replace(self, resource: Resource, obj: Object) -> Object:
        """PUT with the object's resourceVersion; ConflictError when somebody wrote since."""
        namespace, name = _where(resource, obj)
        path = object_path(resource, namespace, name)
        return cast(Object, await self._request("PUT", resource, path, self._managed, obj, name=name))

    async def replace_status(self, resource: Resource, obj: Object) -> Object:
        """PUT to the status subresource with the object's resourceVersion; ConflictError when somebody wrote since."""
        namespace, name = _where(resource, obj)
        path = object_path(resource, namespace, name) + "/status"
        return cast(Object, await self._request("PUT", resource, path, self._managed, obj, name=name))

    async def patch(self, resource: Resource, namespace: str, name: str, change: Object) -> Object:
        """PATCH with a JSON merge patch; `metadata.resourceVersion` in it makes it a compare-and-set."""
        path = object_path(resource, namespace, name)
        return cast(Object, await self._request("PATCH", resource, path, self._managed, change, name=name))

    async def discover(self, api_version: str, kind: str) -> Resource:
        """Return where objects of this kind are served; NotFoundError when the API server does not know it."""
        known = self._discovered.get((api_version, kind))
        if known is not None:
            return known
        group, _, version = api_version.rpartition("/")
        wanted = Resource(group, version, "", kind)
        found = await self._request("GET", wanted, _root(wanted), verb="discover")
        for entry in found.get("resources") or ():
            # Subresources are listed beside the resources, some (scale) under kinds of their own.
            if entry.get("kind") == kind and "/" not in str(entry.get("name", "/")):
                known = Resource(group, version, str(entry["name"]), kind, namespaced=bool(entry.get("namespaced")))
                self._discovered[api_version, kind] = known
                return known
        raise NotFoundError(f"the API server knows no {kind} in {api_version}", status=404, reason="NotFound")

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with exactly this uid; NotFoundError when it is gone, ConflictError when it is another."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        options["propagationPolicy"] = "Background"
        await self._request("DELETE", resource, object_path(resource, namespace, name), body=options, name=name)

    async def serves(self, resource: Resource) -> bool:
        """Say whether the API server knows this kind: optional custom resources may be installed later."""
        try:
            found = await self._request("GET", resource, _root(resource), name="")
        except NotFoundError:
            return False
        return any(entry.get("name") == resource.plural for entry in found.get("resources", ()))

    async def ping(self) -> None:
        """Ask for the server's version: the cheapest proof that it answers. Raises ClusterError when it does not."""
        await self._request("GET", _SERVER, "/version", verb="ping")

    async def close(self) -> None:
        """Close the connections, also those of clients that act as others over them."""
        self._closed.set()
        await self._client.close()

    async def _list(self, resource: Resource, path: str, query: dict[str, str]) -> Sequence[Object]:
        items: list[Object] = []
        while True:
            page = await self._request("GET", resource, path, query, verb="list")
            for item in page.get("items") or ():
                # The items of a list come without these two.
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                items.append(item)
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items
            query = {**query, "continue": token}

    async def _request(
        self,
        method: str,
        resource: Resource,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        *,
        name: str = "",
        verb: str = "",
        content_type: str = "",
        accept: str = "application/json",
    ) -> Any:
        verb = verb or method.lower()
        what = f"{verb} {resource.kind} {name}".strip()
        url = self._connection.server + path + ("?" + urlencode(query) if query else "")
        started = self._clock.monotonic()
        code = "0"
        try:
            content_type = content_type or (MERGE_PATCH if method == "PATCH" else "application/json")
            headers = {"Accept": accept, "Content-Type": content_type, **self._client.default_headers}
            headers.update(self._impersonation)
            if authorization := await self._connection.authorization():
                headers["authorization"] = authorization
            if self._closed.is_set():
                # The library would open a new session, which nobody would close.
                raise ConnectionError("the client has been closed")
            response = await self._client.call_api(
                method, url, header_params=headers, body=body, _request_timeout=self._timeout
            )
            code = str(response.status)
            data = await response.read()
            self.last_answer = self._clock.monotonic()
            self._heard(True)
            self._dated = (response.headers.get("Date", ""), self._clock.wall())
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            # Where another request was answered since, it was this one that hung: a webhook may hold it up.
            if isinstance(error, TimeoutError) and (self.last_answer is None or self.last_answer < started):
                self._heard(False)
            raise unreachable(what, error) from error
        finally:
            self._metrics.count("regent_api_requests_total", verb=verb, kind=resource.kind, code=code)
            self._metrics.observe("regent_api_request_duration_seconds", self._clock.monotonic() - started, verb=verb)
        if not 200 <= response.status < 300:
            raise refused(what, resource, response.status, response.headers, data)
        try:
            return json.loads(data)
        except ValueError as error:
            raise unreachable(what, error) from error


def _root(resource: Resource) -> str:
    return f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"


def object_path(resource: Resource, namespace: str, name: str | None = None) -> str:
    """Return the path of an object, or of a collection when no name is given."""
    parts = [_root(resource)]
    if resource.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    elif resource.namespaced and name is not None:
        raise ValueError(f"{resource.kind} {name!r} needs a namespace")
    parts.append(resource.plural)
    if name is not None:
        if not name:
            # An empty name would address the whole collection, and a DELETE would empty it.
            raise ValueError(f"{resource.kind} needs a name")
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _where(resource: Resource, obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource.kind} {name!r} needs a namespace")
    return namespace, name
