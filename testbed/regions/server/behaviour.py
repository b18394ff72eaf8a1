"""What a simulated region answers, as it can be changed while it runs.

The servers in `http` and `grpc` read it for each request, and `control` writes it. Rates are spread evenly instead of
drawn by lot: 25 percent is every fourth request, so that a test sees the same thing each time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

HEALTH_PATH = "/healthz"


class Closable(Protocol):
    """An open connection, as far as the control channel is concerned."""

    def close_if_idle(self) -> None: ...

    def say_goodbye(self) -> None: ...


@dataclass(slots=True)
class Answers:
    """How one kind of path answers."""

    status: int = 200
    delay: float = 0.0  # seconds before the answer's first byte
    body: str | None = None  # instead of the usual one
    error_percent: float = 0.0  # of requests that get a 500
    hang_up_percent: float = 0.0  # of requests that get the connection closed and not one byte
    _error_share: float = 0.0
    _hang_up_share: float = 0.0

    def next_is_error(self) -> bool:
        self._error_share += self.error_percent
        due = self._error_share >= 100.0
        self._error_share -= 100.0 if due else 0.0
        return due

    def next_is_hang_up(self) -> bool:
        self._hang_up_share += self.hang_up_percent
        due = self._hang_up_share >= 100.0
        self._hang_up_share -= 100.0 if due else 0.0
        return due


@dataclass(slots=True)
class Behaviour:
    """Everything that the servers of one region share."""

    region: str
    health: Answers = field(default_factory=Answers)
    traffic: Answers = field(default_factory=Answers)
    errors: float = 0.0
    free: float = 100.0
    idle_close: float | None = None  # seconds after which an unused keep-alive connection is closed
    services: dict[str, bool] = field(default_factory=lambda: {"": True})  # gRPC service -> serving
    requests: dict[str, int] = field(default_factory=lambda: {"health": 0, "traffic": 0, "grpc": 0, "tcp": 0})
    connections_accepted: int = 0
    connections: set[Closable] = field(default_factory=set)

    def answers(self, path: str) -> Answers:
        """The rules for a path, and the request counted."""
        health = path.partition("?")[0] == HEALTH_PATH
        self.requests["health" if health else "traffic"] += 1
        return self.health if health else self.traffic

    def body(self, path: str, answers: Answers) -> tuple[str, bytes]:
        """Content type and body of a good answer."""
        if answers.body is not None:
            return "text/plain; charset=utf-8", answers.body.encode()
        if answers is self.health:
            figures = {"region": self.region, "status": "ok", "errors": self.errors, "free": self.free}
            return "application/json", json.dumps(figures).encode()
        return "text/plain; charset=utf-8", f"{self.region} {path}\n".encode()


def later(delay: float, act: Callable[[], None]) -> None:
    """Do it now, or after `delay` seconds on the running loop."""
    if delay <= 0.0:
        act()
    else:
        asyncio.get_running_loop().call_later(delay, act)
