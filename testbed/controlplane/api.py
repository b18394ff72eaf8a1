"""A small blocking client of the API server for the testbed itself: JSON over pooled connections.

It speaks in paths and plain dictionaries. Safe to use from several threads. Tests that look at what the operator did
use it too, so it keeps to what the API server says: no caching, no retries.
"""

import json
import ssl
import tempfile
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpcore

from testbed.controlplane.kubeconfig import Access

Json = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_TIMEOUTS = {"connect": 5.0, "read": 30.0, "write": 10.0, "pool": 30.0}


class ApiError(RuntimeError):
    """The API server refused a request: HTTP status, reason word, and its own message."""

    def __init__(self, method: str, path: str, status: int, body: bytes) -> None:
        try:
            answer: Json = json.loads(body)
        except ValueError:
            answer = {"message": body.decode(errors="replace")[:2000]}
        self.status = status
        self.reason = str(answer.get("reason", ""))
        self.message = str(answer.get("message", ""))
        self.body = answer
        super().__init__(f"{method} {path}: {status} {self.reason}: {self.message}")


class ApiClient:
    """Requests to one API server as one user."""

    def __init__(self, access: Access, *, timeouts: Mapping[str, float] = _TIMEOUTS) -> None:
        self.access = access
        self._base = access.server.rstrip("/")
        self._timeouts = dict(timeouts)
        self._headers: dict[bytes | str, bytes | str] = {
            "Host": urlsplit(self._base).netloc,
            "Accept": "application/json",
        }
        if access.token is not None:
            self._headers["Authorization"] = f"Bearer {access.token}"
        self._pool = httpcore.ConnectionPool(ssl_context=_ssl_context(access), keepalive_expiry=30.0)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the pooled connections."""
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Send one request and give the decoded answer.

        Raises:
            ApiError: the answer's status is 400 or more.
            httpcore.NetworkError, httpcore.TimeoutException: there was no answer.
        """
        raw = self.raw(method, path, body, query=query, content_type=content_type)
        return json.loads(raw) if raw else {}

    def raw(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """As `request`, but give the answer's bytes (for /readyz and /metrics)."""
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        headers: dict[bytes | str, bytes | str] = dict(self._headers)
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        response = self._pool.request(
            method, url, headers=headers, content=content, extensions={"timeout": self._timeouts}
        )
        if response.status >= 400:
            raise ApiError(method, path, response.status, response.content)
        return response.content

    def lines(self, path: str, *, query: Mapping[str, str]) -> Generator[bytes, None, None]:
        """GET a stream and give its lines as they come (a watch); closing the generator ends it.

        Raises:
            ApiError: the answer's status is 400 or more.
        """
        url = f"{self._base}{path}?{urlencode(query)}"
        extensions = {"timeout": self._timeouts}
        with self._pool.stream("GET", url, headers=self._headers, extensions=extensions) as response:
            if response.status >= 400:
                raise ApiError("GET", path, response.status, response.read())
            rest = b""
            for chunk in response.iter_stream():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole

    def get(self, path: str, **query: str) -> Json:
        """GET an object or a list."""
        return self.request("GET", path, query=query)

    def create(self, path: str, body: Json) -> Json:
        """POST to a collection or a subresource."""
        return self.request("POST", path, body)

    def delete(self, path: str, **query: str) -> Json:
        """DELETE an object; returns at once, finalizers or not."""
        return self.request("DELETE", path, query=query)

    def patch(self, path: str, body: object, *, content_type: str = MERGE, **query: str) -> Json:
        """PATCH an object: a merge patch unless told otherwise."""
        return self.request("PATCH", path, body, query=query, content_type=content_type)

    def apply(self, manifest: Json, *, manager: str = "testbed", strict: bool = True) -> Json:
        """Server-side apply of one manifest, with force; `strict` refuses unknown fields."""
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict" if strict else "Warn"}
        return self.patch(self.path_of(manifest), manifest, content_type=APPLY, **query)

    def path_of(self, manifest: Json) -> str:
        """Path of the object that a manifest describes; the kind's plural comes from the API server.

        Raises:
            ApiError: the API server does not know the manifest's apiVersion.
            LookupError: it does not know the kind.
        """
        plural, namespaced = self._resource(str(manifest["apiVersion"]), str(manifest["kind"]))
        metadata = manifest["metadata"]
        scope = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{api_root(str(manifest['apiVersion']))}{scope}/{plural}/{metadata['name']}"

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        with self._lock:
            known = self._plurals.get((api_version, kind))
        if known is not None:
            return known
        for resource in self.get(api_root(api_version))["resources"]:
            if "/" not in resource["name"]:
                with self._lock:
                    self._plurals[api_version, resource["kind"]] = (resource["name"], resource["namespaced"])
        with self._lock:
            known = self._plurals.get((api_version, kind))
        if known is None:
            raise LookupError(f"the API server has no kind {kind!r} in {api_version!r}")
        return known


def api_root(api_version: str) -> str:
    """`/api/v1` for the core group, `/apis/<group>/<version>` for all others."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _ssl_context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authority.decode())
    if access.client is not None:
        # The ssl module reads client keys from files only; they are gone again before this function returns.
        with tempfile.TemporaryDirectory(prefix="regent-client-") as scratch:
            certificate, key = access.client.write(Path(scratch), "client")
            context.load_cert_chain(certificate, key)
    return context
