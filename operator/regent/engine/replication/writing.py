"""Carries one decision out, and judges how it went: is it the object, or is it the target?

What is wrong with one object must not hold up the others, and what is wrong with the target must not be held against
the objects. An apply that others' fields stand against is decided once more, with what the API server has told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    PromotionProblemError,
    UnavailableError,
)
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.plan import Action, ActionKind, after_refusal
from regent.engine.replication.copier import Copier
from regent.engine.replication.looking import Look, Tracked
from regent.engine.replication.pace import Pace

NOT_THE_OBJECT = (0, 429, 503, 504)
"""Answers (0: none) that say something about the API server; others, such as a 500 because a webhook does not answer,
are about the one object."""
BUSY = 429
NO_CONNECTION, SILENT = "NoConnection", "Silent"
"""Reasons of errors without an answer that no object has part in: nothing was sent."""
MISSING_RIGHT = 30.0
"""Seconds that a target is left alone whose Region or kubeconfig has to be put right by a person."""
UNAUTHORIZED = 401
"""The credentials are refused, whatever the object is; the Secret is read anew within seconds."""
TOO_LARGE = 413
_TOO_LARGE = ("request is too large", "larger than max")
"""What API servers answer with 500 where etcd does not take an object, or they cannot send it there."""
_FIELD = re.compile(r"(?:^|\s)(\.[^\s,]+)")


class Verdict(Enum):
    """How it went."""

    WRITTEN = "written"
    KEPT = "kept"
    """Others own the fields, and the policy leaves them to them."""
    AGAIN = "again"
    """The object has changed since it was looked at."""
    CONFLICTED = "conflicted"
    FAILED = "failed"
    """The object cannot be written."""
    TOO_LARGE = "too_large"
    """The same, and trying again is of no use: it has to change first."""
    UNAVAILABLE = "unavailable"
    """The target cannot be written to now."""
    NOT_TRIED = "not_tried"
    """Another object has just shown that it would be of no use."""


@dataclass(frozen=True, slots=True)
class Written:
    """A verdict. `wait`: seconds that the target is to be left alone, at least."""

    verdict: Verdict
    message: str = ""
    wait: float = 0.0
    unchanged: bool = False
    """The API server found nothing to change."""
    region: str = ""
    """Where it was, when that is not the link's target."""
    restless: bool = False
    """The API server changes the object with every write, so that it never says what was written."""
    unanswered: bool = False
    """There was no answer in time: perhaps because of the object (a webhook that hangs), perhaps not."""
    hopeless: bool = False
    """No other object would fare better in this target now."""


class Writer:
    """Writes to one target, as many at once as its pace allows."""

    def __init__(self, spec: ReplicationSpec, copier: Copier, pace: Pace) -> None:
        self._spec = spec
        self._copier = copier
        self._pace = pace
        self.hopeless = False
        """Whether a write has shown that no other would fare better; set back by who begins a batch."""

    @property
    def kept(self) -> tuple[str, ...]:
        """What was overwritten although somebody else had written it, and where a record of it is; the last ones."""
        return self._copier.kept

    async def write(self, tracked: Tracked, look: Look) -> Written:
        """Carry out `look.action`. Raises LeadershipLostError only."""
        async with self._pace:
            if self.hopeless:
                return Written(Verdict.NOT_TRIED)
            try:
                unchanged = await self._carry_out(tracked, look, look.action)
            except ConflictError as error:
                result = await self._refused(tracked, look, error)
            except (ClusterError, PromotionProblemError, ValueError) as error:
                result = judge(error)
            else:
                result = Written(Verdict.WRITTEN, unchanged=unchanged)
        self.hopeless = self.hopeless or result.hopeless
        # Other policies write at this pace too: it is about how much the server takes, and nothing else.
        if result.verdict is not Verdict.UNAVAILABLE:
            self._pace.clean()
        elif not result.hopeless:
            self._pace.busy(retry_after=result.wait)
        return result

    async def _carry_out(self, tracked: Tracked, look: Look, action: Action) -> bool:
        """Write; return whether the API server found nothing to change."""
        if action.kind is ActionKind.REVIVE and look.target is not None:
            await self._copier.revive(tracked, look.target)
            return False
        written = await self._copier.write(tracked, look, action)
        before = look.target["metadata"] if look.target is not None else {}
        return bool(before.get("resourceVersion") == written["metadata"]["resourceVersion"])

    async def _refused(self, tracked: Tracked, look: Look, error: ConflictError) -> Written:
        fields = fields_of(error)
        if not fields or look.wanted is None or look.target is None:
            # It has changed since it was looked at: the watch tells what it is now.
            return Written(Verdict.AGAIN, str(error))
        action = after_refusal(self._spec, look.wanted, look.target, fields)
        if action.kind is ActionKind.CONFLICT:
            return Written(Verdict.CONFLICTED, action.message)
        if not action.writes:
            return Written(Verdict.KEPT, action.message)
        try:
            await self._carry_out(tracked, look, action)
        except (ClusterError, PromotionProblemError, ValueError) as second:
            return judge(second)
        return Written(Verdict.WRITTEN)


def judge(error: Exception) -> Written:
    """Say whether an error is about the object, about the target, or nothing but news."""
    if isinstance(error, UnavailableError) and error.status in NOT_THE_OBJECT:
        gone = error.reason in (NO_CONNECTION, SILENT)
        unanswered = error.status != BUSY and not gone
        wait = error.retry_after or 0.0
        return Written(Verdict.UNAVAILABLE, str(error), wait, unanswered=unanswered, hopeless=gone)
    if isinstance(error, ForbiddenError) and error.status == UNAUTHORIZED:
        return Written(Verdict.UNAVAILABLE, f"the target refuses the credentials: {error}", hopeless=True)
    if isinstance(error, InvalidError | UnavailableError) and _too_large(error):
        return Written(Verdict.TOO_LARGE, f"it is too large for the target: {error}")
    if isinstance(error, PromotionProblemError):
        return Written(Verdict.UNAVAILABLE, str(error), MISSING_RIGHT, hopeless=True)
    if isinstance(error, AlreadyExistsError | ConflictError):
        return Written(Verdict.AGAIN, str(error))
    return Written(Verdict.FAILED, str(error))


def _too_large(error: ClusterError) -> bool:
    return error.status == TOO_LARGE or any(text in str(error) for text in _TOO_LARGE)


def fields_of(error: ConflictError) -> tuple[str, ...]:
    """Return the fields that others own, as an API server names them when it refuses an apply; () for any other
    conflict."""
    text = str(error)
    return tuple(dict.fromkeys(_FIELD.findall(text.partition("conflict")[2]))) if "Apply failed" in text else ()
