"""Local health: how far the prober trusts itself.

After Lifeguard (a SWIM detector that widens its own time-outs when it is slow): a score rises with signs that *this*
process is in trouble and falls when they are gone. Time-outs of probes are multiplied by score + 1. At the top the
prober suspects itself, and no failure that it sees is acted on. Failing targets are no such sign: they raise the score
only together with one, for otherwise a real outage would silence its own detection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

TOP = 7
"""Highest score: time-outs are 8 times as long, and the observer is suspect."""

TRUST_AGAIN = 1
"""A suspect observer is trusted again at this score: six good seconds after the top, in which what hung has ended."""

CEILING_OF_ONE = 4
"""How far a single sign raises the score by itself. Suspicion needs a second sign: an API server that restarts while
a region dies must not keep that region from being seen."""

LAG_LIMIT = 0.1
"""Seconds by which the event loop may be late."""

API_LIMIT = 3.0
"""Seconds without a good answer of the API server, to which somebody talks every second (the lease)."""


class Sign(Enum):
    """A control signal that is bad."""

    LOOP_LAG = "the operator's event loop is late"
    API_SERVER = "the API server does not answer"
    DEFAULT_ROUTE = "the default route is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What was measured since the last look."""

    loop_lag: float = 0.0
    """Longest delay of the event loop in seconds."""
    api_silence: float | None = None
    """Seconds since the API server last answered; None: never asked."""
    route_lost: bool = False
    """The default route that existed at the start is gone."""
    targets: int = 0
    failing: int = 0
    """Targets that fail now, of all."""

    def signs(self) -> tuple[Sign, ...]:
        """Return the control signals that are bad."""
        found = []
        if self.loop_lag > LAG_LIMIT:
            found.append(Sign.LOOP_LAG)
        if self.api_silence is not None and self.api_silence > API_LIMIT:
            found.append(Sign.API_SERVER)
        if self.route_lost:
            found.append(Sign.DEFAULT_ROUTE)
        return tuple(found)

    @property
    def many_failing(self) -> bool:
        """More than half of the targets, and at least two, fail."""
        return self.failing >= 2 and self.failing * 2 > self.targets


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverHealth:
    """The prober's trust in itself at one moment."""

    suspect: bool = False
    score: int = 0
    message: str = "no sign of trouble"

    @property
    def timeout_factor(self) -> int:
        """By what time-outs of probes are multiplied, 1 to 8."""
        return self.score + 1


def assess(previous: ObserverHealth, signals: Signals) -> ObserverHealth:
    """Return the observer's health one second after `previous`, or at once when targets begin to fail."""
    signs = signals.signs()
    if not signs:
        score = max(0, previous.score - 1)
    elif signals.many_failing:
        score = TOP
    else:
        ceiling = CEILING_OF_ONE if len(signs) == 1 else TOP
        # A score that a second sign raised above the ceiling of one falls like any other when that sign is gone.
        score = min(previous.score + len(signs), ceiling) if previous.score <= ceiling else previous.score - 1
    suspect = score >= TOP or (previous.suspect and score > TRUST_AGAIN)
    if not signs and score == 0:
        return ObserverHealth()
    reasons = " and ".join(sign.value for sign in signs) or "trouble is over, trust comes back"
    if signals.many_failing and signs:
        reasons += ", while most targets fail"
    return ObserverHealth(suspect=suspect, score=score, message=reasons)
