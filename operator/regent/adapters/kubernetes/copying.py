"""An API server that the replicator reads from and writes to: server-side apply, exact deletes, and watches.

The watch is a stream of its own here, not kopf's: which kinds are followed, in which namespaces of which cluster,
changes with every ReplicationPolicy, and the replicator has to know when it last heard of a cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import aiohttp

from regent.adapters.kubernetes.client import KubernetesCluster, object_path
from regent.adapters.kubernetes.connection import Connection
from regent.adapters.kubernetes.errors import refused, unreachable
from regent.domain.errors import ClusterError, ConflictError
from regent.domain.replication.marks import FIELD_MANAGER
from regent.domain.replication.ownership import as_applied
from regent.engine.ports import Object
from regent.engine.resources import Resource

APPLY_PATCH = "application/apply-patch+yaml"
INITIAL_END = "k8s.io/initial-events-end"
METADATA_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
"""What is accepted where bodies are not wanted: they do not leave the API server then."""


@dataclass(frozen=True, slots=True)
class View:
    """What is listed and watched: a kind in a namespace, of the objects with the labels that `selector` (the text of a
    query; "": all) asks for, whole or without their bodies."""

    resource: Resource
    namespace: str
    selector: str = ""
    bodies: bool = True

    @property
    def query(self) -> dict[str, str]:
        """The part of it that goes into the query."""
        return {"labelSelector": self.selector} if self.selector else {}

    def accept(self, what: str = "") -> str:
        """The form of the answer; `what`: "List", or "" for one object at a time."""
        return "application/json" if self.bodies else METADATA_ONLY.format(what)


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a watch. `kind` is ADDED, MODIFIED, DELETED or BOOKMARK, and OPENED once the server has taken it
    up; `synced`: all that was there at the start has been sent."""

    kind: str
    obj: Object
    synced: bool = False


class CopyingCluster(KubernetesCluster):
    """Implements `regent.engine.replication.ports.CopyCluster`, and watches."""

    def __init__(self, connection: Connection, **options: Any) -> None:
        super().__init__(connection, field_manager=FIELD_MANAGER, **options)
        self._streams: set[aiohttp.StreamReader] = set()

    async def close(self) -> None:
        """Close the connections; watches that are open fail."""
        for stream in self._streams:
            # A library's session that is closed leaves its streams open: they would go on telling of a cluster that is
            # no longer the region's.
            stream.set_exception(ConnectionError("the client has been closed"))
        await super().close()

    async def apply(self, resource: Resource, obj: Object, *, force: bool, status: bool = False) -> Object:
        """Server-side apply; see the port."""
        metadata = obj["metadata"]
        path = object_path(resource, str(metadata.get("namespace", "")), str(metadata["name"]))
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        found = await self._request(
            "PATCH",
            resource,
            f"{path}/status" if status else path,
            query,
            obj,
            name=str(metadata["name"]),
            verb="apply",
            content_type=APPLY_PATCH,
        )
        return cast(Object, found)

    async def take_over(
        self, resource: Resource, namespace: str, name: str, *, uid: str, version: str = "", whole: bool = False
    ) -> Object:
        """Turn the fields that our POST has set into fields of our applies; see the port."""
        current = await self.get(resource, namespace, name)
        metadata = current["metadata"]
        if metadata.get("uid") != uid:
            raise ConflictError(f"{resource.kind} {name} is another object now", status=409, reason="Conflict")
        if version and metadata.get("resourceVersion") != version:
            raise ConflictError(f"{resource.kind} {name} has changed meanwhile", status=409, reason="Conflict")
        fields = as_applied(current, whole=whole)
        if fields is None:
            return current
        change = {"uid": uid, "resourceVersion": metadata["resourceVersion"], "managedFields": fields}
        return await self.patch(resource, namespace, name, {"metadata": change})

    async def remove(self, resource: Resource, namespace: str, name: str, *, uid: str, version: str) -> None:
        """Delete exactly this version; see the port."""
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": version},
            "propagationPolicy": "Background",
        }
        await self._request("DELETE", resource, object_path(resource, namespace, name), body=options, name=name)

    async def page(self, view: View, *, limit: int, token: str = "") -> tuple[list[Object], str, str]:
        """Return a chunk of a LIST, the token of the next one ("" after the last) and the list's resourceVersion."""
        resource = view.resource
        query = {**view.query, "limit": str(limit), **({"continue": token} if token else {})}
        path = object_path(resource, view.namespace)
        found = await self._request("GET", resource, path, query, verb="list", accept=view.accept("List"))
        items = [_typed(resource, item) for item in found.get("items") or ()]
        metadata = found.get("metadata") or {}
        return items, str(metadata.get("continue") or ""), str(metadata.get("resourceVersion") or "")

    async def watch(self, view: View, *, version: str, silence: float, lasts: float) -> AsyncIterator[Event]:
        """Follow the objects of a namespace.

        Args:
            version: where to begin; "" begins with all objects that there are (a streaming list), which ends with an
                event that is `synced`.
            silence: seconds without any message after which the stream is taken for dead.
            lasts: seconds after which the server ends it.

        Raises:
            ClusterError: with status 410 where `version` is too old; with 400 or 422 where the server knows no
                streaming lists.
        """
        resource, namespace = view.resource, view.namespace
        query = {**view.query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(lasts))}
        if version:
            query["resourceVersion"] = version
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": ""}
        what = f"watch {resource.kind} in {namespace}"
        url = self._connection.server + object_path(resource, namespace) + "?" + urlencode(query)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.sock_connect, sock_read=silence)
        try:
            headers = {"Accept": view.accept(), **self._client.default_headers}
            if authorization := await self._connection.authorization():
                headers["authorization"] = authorization
            if self._closed.is_set():
                raise ConnectionError("the client has been closed")
            answer = await self._client.call_api("GET", url, header_params=headers, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            self._metrics.count(
                "regent_api_requests_total", verb="watch", kind=resource.kind, code=str(response.status)
            )
            try:
                if response.status != 200:
                    raise refused(what, resource, response.status, response.headers, await response.read())
                self._streams.add(response.content)
                yield Event("OPENED", {"metadata": {}})
                async for line in response.content:
                    yield _event(what, resource, line)
            finally:
                self._streams.discard(response.content)
                # The rest of the stream is not read: the connection goes with it.
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise unreachable(what, error) from error


def _event(what: str, resource: Resource, line: bytes) -> Event:
    found: dict[str, Any] = json.loads(line)
    kind, obj = str(found.get("type")), found.get("object") or {}
    if kind == "ERROR":
        code = int(obj.get("code") or 0)
        raise ClusterError(f"{what}: {obj.get('message')}"[:1024], status=code, reason=str(obj.get("reason") or ""))
    if kind == "BOOKMARK":
        annotations = obj.get("metadata", {}).get("annotations") or {}
        return Event(kind, obj, synced=annotations.get(INITIAL_END) == "true")
    return Event(kind, _typed(resource, obj))


def _typed(resource: Resource, obj: Object) -> Object:
    """The items of a list come without these two. Objects without bodies keep the kind that says so."""
    obj.setdefault("apiVersion", resource.api_version)
    obj.setdefault("kind", resource.kind)
    return obj
