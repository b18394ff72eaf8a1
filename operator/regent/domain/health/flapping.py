"""Flap damping: an endpoint that goes up and down all the time is not trusted when it comes up once more.

Each change of verdict adds one to a penalty that halves every minute. Above the limit, a return to Up is held back
until the penalty has fallen to half the limit. Only the way up is held: a state that is held while the endpoint fails
would hide an outage, so Down always shows at once, and it is Down that is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HALF_LIFE = 60.0
"""Seconds in which the penalty halves."""

DEFAULT_LIMIT = 10.0
"""Five trips down and back in quick succession. A deployment restarts a region once or twice, not five times."""


@dataclass(slots=True, kw_only=True)
class FlapDamper:
    """The penalty of one endpoint. `now` is seconds on the monotonic clock in every call and never goes back."""

    limit: float = DEFAULT_LIMIT
    half_life: float = HALF_LIFE
    _penalty: float = field(default=0.0, init=False)
    _as_of: float = field(default=0.0, init=False)
    _held: bool = field(default=False, init=False)

    def penalty(self, now: float) -> float:
        """Return the penalty as it has decayed until `now`."""
        if self._penalty == 0.0:
            return 0.0
        return float(self._penalty * 0.5 ** ((now - self._as_of) / self.half_life))

    def turned(self, now: float) -> None:
        """Count one change of verdict."""
        self._penalty = self.penalty(now) + 1.0
        self._as_of = now
        if self._penalty > self.limit:
            self._held = True

    def held(self, now: float) -> bool:
        """Tell whether a return to Up is to be held back at `now`."""
        # Two thresholds, or an endpoint at the limit would flap between held and not held.
        if self._held and self.penalty(now) <= self.limit / 2:
            self._held = False
        return self._held
