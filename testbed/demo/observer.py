"""Notes when the API server announced each change of the demo's objects, on the clock that the clients use too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

Json = dict[str, Any]
KINDS = {
    "regions": ("regent.dev", "v1alpha1"),
    "failovers": ("regent.dev", "v1alpha1"),
    "httproutes": ("gateway.networking.k8s.io", "v1"),
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object as a watch showed it, and when (monotonic seconds)."""

    time: float
    plural: str
    object: Json


class Observer:
    """Context manager: watches Regions, Failovers and HTTPRoutes of the whole cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))
        self._seen: list[Sighting] = []
        self._lock = threading.Lock()
        self._watches: list[watch.Watch] = []
        self._stopped = False

    def __enter__(self) -> Observer:
        for plural, (group, version) in KINDS.items():
            thread = threading.Thread(
                target=self._follow, args=(plural, group, version), name=f"watch-{plural}", daemon=True
            )
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for stream in self._watches:
            stream.stop()

    def _follow(self, plural: str, group: str, version: str) -> None:
        stream = watch.Watch()
        self._watches.append(stream)
        try:
            for event in stream.stream(self._api.list_cluster_custom_object, group, version, plural):
                sighting = Sighting(time.monotonic(), plural, event["object"])
                with self._lock:
                    self._seen.append(sighting)
        except HTTPError:
            # A watch that waits for the next change notices only by its connection that the demo is over.
            if not self._stopped:
                raise

    def first(self, plural: str, condition: Callable[[Json], object], *, since: float) -> Sighting | None:
        """The first sighting at `since` or later that fulfils a condition; None when there was none yet."""
        with self._lock:
            seen = list(self._seen)
        return next(
            (item for item in seen if item.plural == plural and item.time >= since and condition(item.object)), None
        )
