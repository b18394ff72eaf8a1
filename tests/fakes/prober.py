"""A prober whose endpoints do what a script says, for tests under fake loop time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from regent.domain.health.model import LoadFigures, Outcome, ProbeResult, ProbeSpec


@dataclass(slots=True)
class Answer:
    """What one probe finds: after `latency` seconds this outcome, or nothing at all (`hang`)."""

    outcome: Outcome = Outcome.SUCCESS
    latency: float = 0.01
    hang: bool = False
    detail: str = ""
    load: LoadFigures | None = None
    certificate_expiry_time: float | None = None


UP = Answer()
REFUSED = Answer(outcome=Outcome.REFUSED, latency=0.001, detail="connection refused")
HANG = Answer(hang=True, detail="no answer")
NOT_RUN = Answer(outcome=Outcome.NOT_RUN, latency=0.0, detail="too many open files")

Script = Callable[[ProbeSpec, bool], Answer]


@dataclass(slots=True)
class Started:
    """A probe that was started."""

    time: float
    region: str
    name: str
    cold: bool
    timeout: float


@dataclass
class FakeProber:
    """Makes endpoint probers that follow `script(spec, cold)`, which is asked when a probe starts."""

    script: Script = lambda _spec, _cold: UP
    started: list[Started] = field(default_factory=list)
    opened: list[ProbeSpec] = field(default_factory=list)
    closed: list[ProbeSpec] = field(default_factory=list)
    refuse_to_open: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0

    def open(self, spec: ProbeSpec) -> FakeEndpointProber:
        if spec.name in self.refuse_to_open:
            raise ValueError(self.refuse_to_open[spec.name])
        self.opened.append(spec)
        return FakeEndpointProber(self, spec)

    async def close(self) -> None:
        pass

    def times(self, region: str) -> list[float]:
        """When the probes of a region started."""
        return [item.time for item in self.started if item.region == region]


class FakeEndpointProber:
    """One endpoint; fails the test when its kept-alive connection is used twice at once."""

    def __init__(self, prober: FakeProber, spec: ProbeSpec) -> None:
        self._prober = prober
        self._spec = spec
        self._hot = False

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        assert cold or not self._hot, "two probes on one kept-alive connection"
        prober, now = self._prober, asyncio.get_running_loop().time()
        prober.started.append(Started(now, self._spec.region, self._spec.name, cold, timeout))
        answer = prober.script(self._spec, cold)
        prober.in_flight += 1
        prober.most_in_flight = max(prober.most_in_flight, prober.in_flight)
        self._hot = self._hot or not cold
        try:
            return await self._answer(answer, timeout)
        finally:
            prober.in_flight -= 1
            if not cold:
                self._hot = False

    async def _answer(self, answer: Answer, timeout: float) -> ProbeResult:
        if answer.hang or answer.latency >= timeout:
            await asyncio.sleep(timeout)
            return ProbeResult(outcome=Outcome.TIMEOUT, latency=timeout, detail=answer.detail or "no answer")
        await asyncio.sleep(answer.latency)
        return ProbeResult(
            outcome=answer.outcome,
            latency=answer.latency,
            detail=answer.detail,
            load=answer.load,
            certificate_expiry_time=answer.certificate_expiry_time,
        )

    async def close(self) -> None:
        self._prober.closed.append(self._spec)


@dataclass
class FakeSignals:
    """Control signals that are good until told otherwise."""

    contact: Callable[[], float | None] = lambda: None
    route: bool | None = True

    def api_contact(self) -> float | None:
        return self.contact()

    def default_route(self) -> bool | None:
        return self.route


def slow(seconds: float) -> Answer:
    """An answer that is right and slow."""
    return replace(UP, latency=seconds)
