"""Small fakes of the engine's smaller ports: metrics, leadership, recorder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from regent.domain.errors import LeadershipLostError


class FakeMetrics:
    """Keeps what was counted; `counted(name, **labels)` sums over the series that carry these labels."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
        self.gauges: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.observed: dict[tuple[str, frozenset[tuple[str, str]]], list[float]] = {}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        self.counters[name, frozenset(labels.items())] += value

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.gauges[name, frozenset(labels.items())] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.observed.setdefault((name, frozenset(labels.items())), []).append(value)

    def forget(self, **labels: str) -> None:
        gone = set(labels.items())
        for series in (self.counters, self.gauges, self.observed):
            for key in [key for key in series if gone <= key[1]]:
                del series[key]

    def counted(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (of, has), value in self.counters.items() if of == name and wanted <= has)


class FakeLeadership:
    """Leads until `lose`."""

    def __init__(self, *, leading: bool = True, transitions: int = 1) -> None:
        self._leading = leading
        self._transitions = transitions

    @property
    def leading(self) -> bool:
        return self._leading

    @property
    def transitions(self) -> int:
        return self._transitions

    def lose(self) -> None:
        self._leading = False

    def gain(self, *, transitions: int) -> None:
        self._leading, self._transitions = True, transitions

    def check(self) -> None:
        if not self._leading:
            raise LeadershipLostError("not the leader")


class FakeRecorder:
    """Keeps the events as (name of the object, kind, reason, note)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, str]] = []

    def event(self, obj: Mapping[str, Any], *, kind: str, reason: str, action: str, note: str) -> None:
        assert action, "every event names the action that was taken"
        self.events.append((str(obj["metadata"]["name"]), kind, reason, note))
