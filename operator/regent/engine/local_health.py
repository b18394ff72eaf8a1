"""Measures how far this process can trust its own probes: `domain.health.suspicion` fed with real signals.

Two things are measured here. `LoopMonitor` counts the time that the event loop stood still (blocked by a computation,
or the process stopped): a probe that fails meanwhile tells nothing about its endpoint. `LocalHealth` keeps the score
from that lag, from the API server's silence and from the default route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from regent.domain.health.suspicion import ObserverHealth, Signals, assess

TICK = 0.05
"""Seconds between two looks at the event loop. The sum of all delays counts, so short stalls add up."""

NOISE = 0.005
"""Delays of a tick up to this many seconds are ordinary scheduling."""

LONG = 0.05
"""A stall of this many seconds may have run a probe past its time-out with the answer waiting to be read."""

AFTERMATH = 0.05
"""Seconds that the loop needs after a stall to read what came in meanwhile: its timers run before its sockets."""


class ControlSignals(Protocol):
    """What tells about this machine and not about the regions."""

    def api_contact(self) -> float | None:
        """Monotonic time of the API server's last good answer; None when there has been none yet."""
        ...

    def default_route(self) -> bool | None:
        """Whether the machine has a default route; None when it cannot be told."""
        ...


class LoopMonitor:
    """Counts how long the event loop stood still. Whoever owns the tick calls `expect` before and `ticked` after."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._total = 0.0
        self._worst = 0.0
        self._long_until = float("-inf")

    def expect(self, now: float) -> None:
        """Note that the next tick is due one `TICK` from now."""
        self._due = now + TICK

    def ticked(self, now: float) -> None:
        """Note that the tick came."""
        lag = self._overdue(now)
        self._total += lag
        self._worst = max(self._worst, lag)
        if lag >= LONG:
            self._long_until = now
        self._due = None

    def stalled(self, now: float) -> float:
        """Return the seconds that the loop has stood still since the start.

        A stall that has just ended counts although its tick has not come yet: timers run in the order in which they
        were due, so a probe's time-out may well run before the tick that would have told of the stall.
        """
        return self._total + self._overdue(now)

    def recovering(self, now: float) -> bool:
        """Tell whether a long stall is going on (its tick has not come yet) or has only just ended."""
        return self._overdue(now) >= LONG or now - self._long_until < AFTERMATH

    def worst(self, now: float) -> float:
        """Return the longest stall since `reset`, in seconds."""
        return max(self._worst, self._overdue(now))

    def reset(self) -> None:
        """Forget the longest stall."""
        self._worst = 0.0

    def _overdue(self, now: float) -> float:
        lag = 0.0 if self._due is None else now - self._due
        return lag if lag > NOISE else 0.0


class LocalHealth:
    """The observer's score. `targets` returns (failing just now, all); it is asked when a control signal is bad."""

    def __init__(
        self, *, monitor: LoopMonitor, signals: ControlSignals, targets: Callable[[float], tuple[int, int]]
    ) -> None:
        self._monitor = monitor
        self._signals = signals
        self._targets = targets
        self._had_route = signals.default_route() is True
        self.observer = ObserverHealth()

    def look(self, now: float) -> bool:
        """Assess once; called each second. Return whether the observer's health changed."""
        before, self.observer = self.observer, assess(self.observer, self._measure(now))
        self._monitor.reset()
        return self.observer != before

    def look_at_failure(self, now: float) -> None:
        """Assess out of turn because a target went down: when a control signal is bad and most targets fail, the
        observer has to be suspect before the failure is acted on, not a second later."""
        signals = self._measure(now)
        if signals.signs() and signals.many_failing:
            self.observer = assess(self.observer, signals)

    def _measure(self, now: float) -> Signals:
        contact = self._signals.api_contact()
        signals = Signals(
            loop_lag=self._monitor.worst(now),
            api_silence=None if contact is None else now - contact,
            route_lost=self._had_route and self._signals.default_route() is False,
        )
        if not signals.signs():
            return signals
        failing, targets = self._targets(now)
        return Signals(
            loop_lag=signals.loop_lag,
            api_silence=signals.api_silence,
            route_lost=signals.route_lost,
            targets=targets,
            failing=failing,
        )
