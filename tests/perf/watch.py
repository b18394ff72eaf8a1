"""A watch on the API server that notes when each change arrived, on the monotonic clock of this machine."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpcore

from testbed.controlplane import Cluster


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of the watch."""

    at: float
    kind: str
    object: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.object.get("status") or {}
        return found


class ApiWatch:
    """Context manager: follows one collection from now on. Events arrive in a thread; `seen` is all of them."""

    def __init__(self, cluster: Cluster, path: str) -> None:
        self._cluster = cluster
        self._path = path
        self._changed = threading.Condition()
        self._seen: list[Seen] = []
        self._closing = False
        self._pool: httpcore.ConnectionPool | None = None

    def __enter__(self) -> Self:
        version = self._cluster.api.get(self._path)["metadata"]["resourceVersion"]
        self._pool = httpcore.ConnectionPool(ssl_context=_ssl_context(self._cluster))
        threading.Thread(target=self._follow, args=(self._pool, version), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread ends with the process: closing its connection under its feet would only make noise.
        self._closing = True

    @property
    def seen(self) -> list[Seen]:
        with self._changed:
            return list(self._seen)

    def wait(self, condition: Callable[[Seen], bool], *, since: float, timeout: float) -> Seen:
        """Return the first event from the monotonic time `since` on that fulfils the condition.

        Raises:
            TimeoutError: none did in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        position = 0
        with self._changed:
            while True:
                for event in self._seen[position:]:
                    if event.at >= since and condition(event):
                        return event
                position = len(self._seen)
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"no such event of {self._path} within {timeout} s")

    def forget(self) -> None:
        """Drop what was seen, to keep a long benchmark small."""
        with self._changed:
            self._seen.clear()

    def _follow(self, pool: httpcore.ConnectionPool, version: str) -> None:
        headers = {"Accept": "application/json"}
        if self._cluster.access.token:
            headers["Authorization"] = f"Bearer {self._cluster.access.token}"
        url = f"{self._cluster.server}{self._path}?watch=1&resourceVersion={version}&timeoutSeconds=7200"
        rest = b""
        try:
            with pool.stream("GET", url, headers=headers) as response:
                for chunk in response.iter_stream():
                    at = time.monotonic()
                    *lines, rest = (rest + chunk).split(b"\n")
                    self._note(at, lines)
        except httpcore.NetworkError:
            if not self._closing:
                raise

    def _note(self, at: float, lines: list[bytes]) -> None:
        events = [json.loads(line) for line in lines if line]
        with self._changed:
            self._seen.extend(Seen(at, event["type"], event["object"]) for event in events)
            self._changed.notify_all()


def _ssl_context(cluster: Cluster) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=cluster.access.authority.decode())
    if cluster.access.client is not None:
        with tempfile.TemporaryDirectory(prefix="regent-watch-") as scratch:
            context.load_cert_chain(*cluster.access.client.write(Path(scratch), "client"))
    return context
