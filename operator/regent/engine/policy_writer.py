"""Writes the turning points of a run into its policy's status, each as one compare-and-set.

The policy is the only place that says who holds it and what is active. Every edit here checks that the policy is where
the run believes it to be, so that of two runs, or two leaders, only one can make it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from regent.domain.errors import ConflictError, FencedOffError, RegentError
from regent.domain.failover.course import Course
from regent.domain.failover.model import Plan, PolicySpec
from regent.domain.times import rfc3339
from regent.engine import policy_writes as edits
from regent.engine.ports import Clock, Object
from regent.engine.records import policy_state, status_of
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.status import Change, StatusWriter

if TYPE_CHECKING:
    from regent.engine.run_context import Context
    from regent.engine.steps.outcome import Work


class CommitLostError(RegentError):
    """The policy has moved on since the run was planned: another run committed first."""


class PolicyWriter:
    """The policy's side of a run."""

    def __init__(self, *, status: StatusWriter, clock: Clock) -> None:
        self._status = status
        self._clock = clock

    async def number(self, spec: PolicySpec, number: int) -> None:
        """Take a number for an automatic run."""
        await self._write(spec, partial(edits.raise_run_number, number=number))

    async def commit(self, context: Context, run: Object, plan: Plan, course: Course) -> Context:
        """Epoch, operation and (where nothing is promoted) active region change together, or the run has lost.

        Raises:
            CommitLostError: another run committed first, or the policy is gone.
        """
        expected = context.state

        def change(obj: Object) -> dict[str, Any]:
            state = policy_state(obj)
            ours = state.operation is not None and state.operation.uid == run["metadata"]["uid"]
            if state.operation is not None and ours and state.operation.to == plan.to:
                return dict(status_of(obj))  # an earlier try was applied, and only its answer was lost
            # An earlier try with another plan: nothing of it was done, and nothing will be under its epoch.
            if not ours and (state.epoch != expected.epoch or state.operation is not None):
                holder = state.operation.name if state.operation else f"epoch {state.epoch}"
                raise CommitLostError(f"{holder} committed first")
            promotes = any(name.startswith("Promote/") for name in course.order)
            return edits.commit_status(obj, context.spec, run, plan, promotes=promotes, now=self._now())

        policy = await self._write(context.spec, change)
        if policy is None:
            raise CommitLostError("the policy was deleted")
        return _moved(context, policy)

    async def fresh(self, context: Context) -> Context:
        """The policy's state past the cache."""
        return _moved(context, await self._status.read(FAILOVER_POLICIES, context.spec.namespace, context.spec.name))

    async def promoted(self, work: Work) -> Context:
        """The promotion was seen: from now on the new region is the active one."""
        return await self._held(work, partial(edits.promoted_status, to=work.to))

    async def turned_back(self, work: Work) -> Context:
        """Raise the epoch for an undo; the active region is the one of before."""
        return await self._held(work, partial(edits.turned_back_status, spec=work.context.spec, source=work.source))

    async def next_attempt(self, work: Work, to: str, *, promotes: bool) -> Context:
        """Raise the epoch for the next candidate."""
        edit = partial(edits.next_attempt_status, spec=work.context.spec, to=to, promotes=promotes)
        return await self._held(work, edit)

    async def release(self, spec: PolicySpec, run: Object, after: Mapping[str, int]) -> None:
        """Record an ended run and free the policy. Harmless when it was done before."""
        await self._write(spec, lambda obj: edits.release_status(obj, spec, run, after, now=self._now()))

    async def _held(self, work: Work, edit: Callable[[Object], dict[str, Any]]) -> Context:
        """Edit the policy while the run holds it at the epoch that it knows.

        Raises:
            FencedOffError: the run holds the policy no more.
            ConflictError: it does, and has gone on since: look again.
        """
        epoch, uid = work.epoch, work.spec.uid
        gone_on = False

        def change(obj: Object) -> dict[str, Any]:
            nonlocal gone_on
            state = policy_state(obj)
            if state.operation is None or state.operation.uid != uid:
                raise FencedOffError(f"the policy is at epoch {state.epoch} and no longer held by this run at {epoch}")
            gone_on = state.epoch != epoch
            return dict(status_of(obj)) if gone_on else edit(obj)

        policy = await self._write(work.context.spec, change)
        if policy is None:
            raise FencedOffError("the policy was deleted")
        if gone_on:
            # An earlier try whose answer was lost, or a leader before or after this one. Nobody has overtaken the run.
            raise ConflictError(f"the policy is at epoch {policy_state(policy).epoch}, read at {epoch}; reading again")
        return _moved(work.context, policy)

    async def _write(self, spec: PolicySpec, change: Change) -> Object | None:
        return await self._status.transact(FAILOVER_POLICIES, spec.namespace, spec.name, change, uid=spec.uid)

    def _now(self) -> str:
        return rfc3339(self._clock.wall())


def _moved(context: Context, policy: Object) -> Context:
    return dataclasses.replace(context, policy=policy, state=policy_state(policy))
