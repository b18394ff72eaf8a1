"""The journal of a run under edit, and the one way in which it is written.

Edits are gathered and written together: before an effect (the intent must stand first) and when a visit ends. What is
written replaces exactly the status that the edits were made on. If anybody else has written in between, be it an old
leader that woke up or a person, nothing is written and the visit starts over from what stands there now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.domain.errors import ConflictError
from regent.domain.times import rfc3339_micro
from regent.engine.journal import FINISHED, Journal
from regent.engine.ports import Clock, Object
from regent.engine.records import status_of, time_of
from regent.engine.resources import FAILOVERS
from regent.engine.status import StatusWriter


class Draft:
    """A run and the edits of its status that are not written yet."""

    def __init__(self, run: Object, *, status: StatusWriter, clock: Clock) -> None:
        self.run = run
        self._status = status
        self._clock = clock
        self.journal = Journal(run, now=rfc3339_micro(clock.wall()))

    @property
    def attempt(self) -> int:
        """Number of the present attempt, from 1."""
        return max((int(item["attempt"]) for item in self.journal.status.get("steps") or ()), default=1)

    @property
    def wall(self) -> float:
        """Seconds since the epoch, now."""
        return self._clock.wall()

    def edit(self) -> Journal:
        """The journal, at the present time."""
        self.journal.now = rfc3339_micro(self._clock.wall())
        return self.journal

    def step(self, name: str, state: str, message: str = "") -> None:
        """Record the state of a step of the present attempt."""
        self.edit().step(name, state, message, attempt=self.attempt)

    def applied(self, name: str) -> None:
        """Record that the effect of a step of the present attempt has been asked for."""
        self.edit().applied(name, attempt=self.attempt)

    def led_by(self, transitions: int) -> None:
        """Record which leader carries the run out. One that takes it up from another notes when."""
        known = self.journal.status.get("leaseTransitions")
        if known != transitions:
            taken_up = {} if known is None else {"leaderTime": rfc3339_micro(self._clock.wall())}
            self.edit().put(leaseTransitions=transitions, **taken_up)

    def entry(self, name: str) -> Mapping[str, Any]:
        """The journal's entry of a step of the present attempt; {} when there is none."""
        attempt = self.attempt
        steps = self.journal.status.get("steps") or ()
        return next((item for item in steps if item["name"] == name and item["attempt"] == attempt), {})

    def done(self) -> list[str]:
        """Names of the steps of the present attempt that are finished."""
        attempt = self.attempt
        steps = self.journal.status.get("steps") or ()
        return [item["name"] for item in steps if item["attempt"] == attempt and item["state"] in FINISHED]

    def running_for(self, name: str) -> float:
        """Seconds since the step first began, by the journal; 0 when it has not."""
        return self._since(self.entry(name).get("startTime"))

    def attended_for(self, name: str) -> float:
        """The same without the time in which the step had no leader: what one did not do in time because it was dead
        is no reason to give it up."""
        taken_up = self.journal.status.get("leaderTime")
        running = self.running_for(name)
        return running if taken_up is None else min(running, self._since(taken_up))

    def applied_for(self, name: str) -> float:
        """Seconds since the effect of the step was asked for; 0 when it was not."""
        return self._since(self.entry(name).get("appliedTime"))

    def _since(self, text: object) -> float:
        moment = time_of(text)
        return 0.0 if moment is None else max(0.0, self._clock.wall() - moment)

    async def flush(self) -> None:
        """Write the edits, if there are any.

        Raises:
            ConflictError: somebody else has written the status since it was read.
        """
        base, wanted = dict(status_of(self.run)), self.journal.status
        if wanted == base:
            return
        moved = False

        def change(obj: Object) -> dict[str, Any]:
            nonlocal moved
            moved = dict(status_of(obj)) != base
            return dict(status_of(obj)) if moved else wanted

        metadata = self.run["metadata"]
        written = await self._status.transact(
            FAILOVERS, metadata["namespace"], metadata["name"], change, uid=metadata["uid"]
        )
        if written is None:
            raise ConflictError(f"Failover {metadata['namespace']}/{metadata['name']} is gone")
        if moved and dict(status_of(written)) != wanted:
            raise ConflictError(f"the journal of {metadata['name']} was written by another; reading it again")
        self.run = written
        self.journal = Journal(written, now=rfc3339_micro(self._clock.wall()))
