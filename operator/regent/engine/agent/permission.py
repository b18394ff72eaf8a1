"""Answers a database of the region that asks whether it may accept writes.

A primary that died with its region starts by itself, and nothing but its own configuration store tells it what it is.
Where its promotion waits for this answer (Patroni: `postgresql.pre_promote`), it stays read-only until the hub, asked
after the question, has said that the region is active. Only the agent that acts answers, and only while its lease on
the hub runs: when the hub is lost a moment later, this agent is there to stop what it has let go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from regent.domain.errors import ClusterError, NotFoundError
from regent.domain.failover.guarding import Answer, Leave, PolicyView, may_promote
from regent.domain.failover.roles import Role
from regent.engine.agent.side import Side
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES

log = logging.getLogger("regent.agent")

AT_ONCE = 8
"""Questions that are looked into at the same time: anybody in the region's network may ask."""

LIMIT = 4.0
"""Seconds for an answer."""


class Connected(Protocol):
    """The part of `regent.engine.agent.agent.RegionAgent` that counts here."""

    def disconnected(self) -> str:
        """Why nothing may start in the region for lack of the hub; "": the lease runs."""
        ...


class Permission:
    """Gives leave.

    Args:
        hub: where the policies are.
        agent: says whether the lease runs.
        view: makes the view of a policy that was just read.
        side: makes the region's side of it; None: it cannot be read.
    """

    def __init__(
        self,
        *,
        hub: Cluster,
        agent: Connected,
        view: Callable[[Object], PolicyView],
        side: Callable[[Object], Side | None],
    ) -> None:
        self._hub = hub
        self._agent = agent
        self._view = view
        self._side = side
        self._busy = 0
        self._last: dict[str, Answer] = {}

    async def ask(self, namespace: str, name: str, step: str) -> Answer:
        """Answer for a step of the policy `namespace/name`."""
        if self._busy >= AT_ONCE:
            return Answer(Leave.NOT_YET, "too many questions at once")
        self._busy += 1
        try:
            async with asyncio.timeout(LIMIT):
                answer = await self._answer(namespace, name, step)
        except TimeoutError:
            answer = Answer(Leave.NOT_YET, "no answer in time")
        finally:
            self._busy -= 1
        key = f"{namespace}/{name}/{step}"
        if self._last.get(key) != answer and (key in self._last or len(self._last) < 1000):
            level = logging.INFO if answer.leave is Leave.YES else logging.WARNING
            log.log(level, "May it promote? %s: %s", answer.leave.value, answer.reason, extra={"object": key})
            self._last[key] = answer
        return answer

    async def _answer(self, namespace: str, name: str, step: str) -> Answer:
        if problem := self._agent.disconnected():
            return Answer(Leave.NOT_YET, problem)
        try:
            policy = await self._hub.get(FAILOVER_POLICIES, namespace, name)
        except NotFoundError:
            return Answer(Leave.NO, f"the hub has no FailoverPolicy {namespace}/{name}")
        except ClusterError as error:
            return Answer(Leave.NOT_YET, f"the hub cannot be asked: {error}")
        side = self._side(policy)
        if side is None:
            return Answer(Leave.NO, f"FailoverPolicy {namespace}/{name} cannot be read")
        state = await side.look_at(step)
        if state is None:
            return Answer(Leave.NO, f"FailoverPolicy {namespace}/{name} has no step {step} that can be looked at here")
        answer = may_promote(self._view(policy), standby=state.wanted is Role.STANDBY, told=state.fence)
        # Looked at again, because all this takes time: leave that is given after the lease has run out is given at a
        # moment at which the hub may have taken the region for fenced already.
        if answer.leave is Leave.YES and (problem := self._agent.disconnected()):
            return Answer(Leave.NOT_YET, problem)
        return answer
