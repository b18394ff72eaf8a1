"""State of one probe seen from one vantage: `Unknown -> Up | Suspect -> Down -> Rising -> Up`.

The first failure only makes an endpoint Suspect. `failure_threshold` failures in a row make it Down, and
`success_threshold` successes in a row make it Up again. Probes of one episode overlap, so they may answer in any
order; the machine takes their results in the order in which the probes *started* and holds a result back while an
older probe is still out. The state is therefore a function of the sequence of probes alone, and a probe is out for no
longer than its timeout, so nothing is held for longer than that. A probe that could not run leaves no trace.

Neighbours: `flapping` damps the way up, `engine.probing` decides when to probe by asking `needs_retry`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from regent.domain.health.flapping import DEFAULT_LIMIT, FlapDamper
from regent.domain.health.model import EndpointState, Outcome

_FAILURES = (Outcome.REFUSED, Outcome.TIMEOUT)


@dataclass(slots=True)
class _Probe:
    """One probe in the order of starts; `outcome` is None while it is out."""

    ticket: int
    started: float
    outcome: Outcome | None = None


class Endpoint:
    """The state machine of one probe. Not thread-safe; times are seconds on the monotonic clock.

    `up` is what the vantage votes: it follows the state with flap damping, keeps its value in Suspect (one failure is
    no verdict) and in Rising (one success neither), and is None before the first verdict.
    """

    __slots__ = (
        "_damper",
        "_failures",
        "_last_ticket",
        "_probes",
        "_successes",
        "answered_at",
        "down_since",
        "failure_threshold",
        "first_failure",
        "proved_at",
        "state",
        "success_threshold",
        "up",
        "up_since",
    )

    def __init__(self, *, failure_threshold: int, success_threshold: int, flap_limit: float = DEFAULT_LIMIT) -> None:
        self.failure_threshold = failure_threshold
        self.success_threshold = success_threshold
        self.state = EndpointState.UNKNOWN
        self.up: bool | None = None
        self.answered_at: float | None = None
        """When the newest result other than NotRun came in."""
        self.proved_at: float | None = None
        """When the newest success came in, while the endpoint is Up."""
        self.first_failure: float | None = None
        """Start of the first failed probe of the outage or suspicion that goes on now."""
        self.down_since: float | None = None
        self.up_since: float | None = None
        """Since when there has been no Down. One lost probe does not break it: Suspect is not a verdict."""
        self._damper = FlapDamper(limit=flap_limit)
        self._probes: deque[_Probe] = deque()
        self._last_ticket = 0
        self._failures = 0
        self._successes = 0

    @property
    def pending(self) -> int:
        """Number of probes that are out."""
        return sum(1 for probe in self._probes if probe.outcome is None)

    def flapping(self, now: float) -> bool:
        """Tell whether the endpoint answers and yet is held Down."""
        return self.up is False and self.state is EndpointState.UP and self._damper.held(now)

    def begin(self, started: float) -> int:
        """Note that a probe starts now and return its ticket. Starts come in order."""
        self._last_ticket += 1
        self._probes.append(_Probe(self._last_ticket, started))
        return self._last_ticket

    def finish(self, ticket: int, outcome: Outcome, *, now: float) -> bool:
        """Take the result of a probe; unknown tickets and repeated results are ignored.

        Returns:
            Whether the state or the vote changed.
        """
        probe = next((item for item in self._probes if item.ticket == ticket), None)
        if probe is None or probe.outcome is not None:
            return False
        probe.outcome = outcome
        if outcome is not Outcome.NOT_RUN:
            self.answered_at = now
        before = (self.state, self.up)
        while self._probes and self._probes[0].outcome is not None:
            self._take(self._probes.popleft(), now)
        if outcome is Outcome.SUCCESS and self.up:
            self.proved_at = now
        return (self.state, self.up) != before

    def settle(self, now: float) -> bool:
        """Let the passing of time end flap damping; return whether the vote changed."""
        if self.state is EndpointState.UP and self.up is False and not self._damper.held(now):
            self._vote_up(now)
            return True
        return False

    def needs_retry(self, *, late: bool) -> bool:
        """Tell whether the next probe is wanted after the retry interval instead of the interval.

        Args:
            late: the oldest probe that is out has taken longer than this endpoint's answers do. Waiting for its
                time-out before the next probe starts would add a whole time-out to each detection of a hang.
        """
        if self.state is EndpointState.RISING:
            return not self.pending
        if self.state is EndpointState.DOWN:
            return False
        run = self._failures
        failing = self.state is EndpointState.SUSPECT or late
        for probe in self._probes:
            if probe.outcome is Outcome.SUCCESS:  # held back, but it tells that the endpoint answers
                run, failing = 0, False
            elif probe.outcome is not Outcome.NOT_RUN:
                run += 1
                failing = failing or probe.outcome is not None
        # Probes of an earlier episode that still hang count as well: never are more than this out.
        return failing and max(run, self.pending) < self.failure_threshold

    def _take(self, probe: _Probe, now: float) -> None:
        if probe.outcome is Outcome.SUCCESS:
            self._take_success(now)
        elif probe.outcome in _FAILURES:
            self._take_failure(probe, now)

    def _take_success(self, now: float) -> None:
        self._failures = 0
        self._successes += 1
        falling = self.state in (EndpointState.DOWN, EndpointState.RISING)
        if falling and self._successes < self.success_threshold:
            self.state = EndpointState.RISING
            return
        self.state = EndpointState.UP
        self.first_failure = None
        if self.up is None:
            self._vote_up(now)
        elif falling:
            self._damper.turned(now)
            self.settle(now)

    def _take_failure(self, probe: _Probe, now: float) -> None:
        self._successes = 0
        self._failures += 1
        if self.first_failure is None:
            self.first_failure = probe.started
        falling = self.state in (EndpointState.DOWN, EndpointState.RISING)
        if not falling and self._failures < self.failure_threshold:
            self.state = EndpointState.SUSPECT
            return
        if self.up is not False:
            if self.up:
                self._damper.turned(now)
            self.down_since = now
        elif self.state is EndpointState.UP or self.state is EndpointState.SUSPECT:
            self._damper.turned(now)  # held Down all along: it went up and down behind the damping
        self.state = EndpointState.DOWN
        self.up, self.up_since, self.proved_at = False, None, None

    def _vote_up(self, now: float) -> None:
        self.up, self.up_since, self.down_since, self.proved_at = True, now, None, now
