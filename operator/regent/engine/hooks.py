"""Hooks: calls to endpoints of the user's before a run commits, which may veto it.

A visit of a policy never waits, and a receiver that hangs must not keep its policy from hearing a person or a region
that goes down. So the calls of a run are made in the background, in the order of the spec, and the run is visited again
when their results are there. What was answered is journaled by `run_hooks`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from regent.domain.failover.model import Plan, PolicySpec
from regent.engine.ports import Object

log = logging.getLogger("regent.hooks")

TOTAL = 60.0
"""Seconds for all hooks of a run together, whatever their own timeouts add up to. Hooks for which no time is left count
as not answered."""

MAX_CALLS = 256
"""Runs whose results are kept until their policy is visited."""


Question = tuple[str, int]
"""Hash of the plan, and how often the hooks are asked about it, from 1."""


class HookOutcome(Enum):
    """What a call came to; the values are the API's."""

    PASSED = "Passed"
    FAILED = "Failed"
    """No answer or a bad one, and the hook lets the run go on."""
    VETOED = "Vetoed"
    """No answer or a bad one, and the hook stops the run. Those after it were not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """The outcome of one hook. `message` is bounded and holds the receiver's words."""

    name: str
    outcome: HookOutcome
    message: str = ""


class Hooks(Protocol):
    """Calls the hooks of a policy."""

    async def before_failover(
        self, policy: PolicySpec, run: Object, plan: Plan, *, question: Question
    ) -> Sequence[HookResult]:
        """Call `policy.options.hooks` in order and return what came of each; stops after a veto. Never raises but
        CancelledError, and is over after `TOTAL` seconds. The same question about the same run is the same message for
        a receiver, whoever asks it."""
        ...


@dataclass(slots=True, eq=False)
class _Call:
    question: Question
    policy: PolicySpec
    run: Object
    plan: Plan
    results: Sequence[HookResult] | None = None


class HookCalls:
    """Makes the calls in the background. One part of the leader's process: `run` is supervised.

    Args:
        hooks: how they are called.
        answered: called with namespace and name of the policy when the results of one of its runs are there.
    """

    def __init__(self, hooks: Hooks, *, answered: Callable[[str, str], None]) -> None:
        self._hooks = hooks
        self._answered = answered
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._asked: asyncio.Queue[_Call] = asyncio.Queue()

    def asking(self, run: Object, question: Question) -> bool:
        """Whether the hooks are being asked this very question and have not answered yet."""
        call = self._calls.get(run["metadata"]["uid"])
        return call is not None and call.question == question and call.results is None

    def ask(self, policy: PolicySpec, run: Object, plan: Plan, question: Question) -> Sequence[HookResult] | None:
        """Return the results, once; None: they are asked for, come again when `answered` was called.

        Args:
            policy: whose hooks.
            run: on whose behalf.
            plan: what they are told.
            question: hash of the plan, and how often it is asked. Another question makes the one before pointless.
        """
        uid = run["metadata"]["uid"]
        call = self._calls.get(uid)
        if call is not None and call.question == question:
            if call.results is not None:
                del self._calls[uid]
            return call.results
        self._calls[uid] = call = _Call(question=question, policy=policy, run=run, plan=plan)
        self._calls.move_to_end(uid)
        while len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)
        self._asked.put_nowait(call)
        return None

    async def run(self) -> None:
        """Make the calls, those of different runs at the same time."""
        async with asyncio.TaskGroup() as group:
            while True:
                call = await self._asked.get()
                group.create_task(self._make(call))

    async def _make(self, call: _Call) -> None:
        try:
            results = await self._hooks.before_failover(call.policy, call.run, call.plan, question=call.question)
        except Exception:
            log.exception("Hooks of %s cannot be called", call.policy.key)
            results = [
                HookResult(
                    name=hook.name,
                    outcome=HookOutcome.VETOED if hook.veto else HookOutcome.FAILED,
                    message="the operator failed to call it; see its log",
                )
                for hook in call.policy.options.hooks
            ]
        call.results = results
        self._answered(call.policy.namespace, call.policy.name)
