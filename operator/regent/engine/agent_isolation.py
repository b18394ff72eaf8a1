"""Proof from a region's agent that nothing writes there any more: implements `regent.engine.promotion.Isolation`.

What is proved is judged by `regent.domain.failover.isolation`; this reads and writes the objects of `agent_objects`.
What was seen is remembered for as long as this process leads and no longer: a new leader begins to wait anew. So does
every run, and every attempt of one: an earlier one may have activated the region while its agent was silent already,
and the agent needs its time to undo that.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from regent.domain.errors import AlreadyExistsError, ConflictError, NotFoundError
from regent.domain.failover.fence import Fence
from regent.domain.failover.isolation import Presence, Sighting, Standing, find, sight
from regent.domain.failover.model import PolicySpec
from regent.engine.agent_objects import agent_name, config_map, data_key, presence, read_fences, request_name
from regent.engine.ports import Clock, Cluster, Leadership
from regent.engine.promotion import IsolationState
from regent.engine.resources import CONFIG_MAPS, LEASES

log = logging.getLogger("regent.isolation")

MAX_CONFLICTS = 5
MAX_SIGHTINGS = 10_000
"""Attempts that are remembered; one that is forgotten waits anew."""


class AgentIsolation:
    """Asks the agents of regions to isolate them, and waits for their word or for their silence.

    Args:
        cluster: the hub.
        namespace: the operator's.
        leadership: whose term counts.
        clock: one whose monotonic time goes on while the machine is suspended.
        skew: seconds by which two clocks may differ over the time that is waited.
    """

    def __init__(
        self, *, cluster: Cluster, namespace: str, leadership: Leadership, clock: Clock, skew: float = 2.0
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._leadership = leadership
        self._clock = clock
        self._skew = skew
        self._sightings: OrderedDict[tuple[str, str, int], Sighting] = OrderedDict()
        self._term = -1

    async def isolate(self, policy: PolicySpec, region: str, *, fence: Fence) -> IsolationState:
        """Ask the region's agent, and say how far it is; see the port.

        Raises:
            ClusterError: the hub's API server does not answer.
        """
        if self._term != self._leadership.transitions:
            self._term = self._leadership.transitions
            self._sightings.clear()
        seen = await self._look(region)
        sighting = None
        if seen is not None:
            # After the answer has come: what is in it was written before.
            attempt = (region, policy.key, fence.epoch)
            sighting = sight(self._sightings.pop(attempt, None), seen, now=self._clock.monotonic())
            self._sightings[attempt] = sighting
            while len(self._sightings) > MAX_SIGHTINGS:
                self._sightings.popitem(last=False)
        found = find(
            seen,
            sighting,
            policy,
            region=region,
            fence=fence,
            now=self._clock.monotonic(),
            skew=self._skew,
        )
        if found.standing is Standing.ASKED:
            await self._ask(policy.key, region, fence)
        if found.proved:
            log.info("Isolated: %s", found.message, extra={"object": policy.key, "region": region})
        return IsolationState(
            proved=found.proved,
            possible=found.possible,
            message=found.message,
            retry_after=found.retry_after,
            asked=found.standing is Standing.ASKED,
        )

    async def _look(self, region: str) -> Presence | None:
        try:
            lease = await self._cluster.get(LEASES, self._namespace, agent_name(region))
        except NotFoundError:
            return None
        try:
            told = await self._cluster.get(CONFIG_MAPS, self._namespace, agent_name(region))
        except NotFoundError:
            told = None
        return presence(lease, told)

    async def _ask(self, policy: str, region: str, fence: Fence) -> None:
        """Write the request, unless it stands there. A request of a later run is never taken back."""
        for _ in range(MAX_CONFLICTS):
            try:
                present = await self._cluster.get(CONFIG_MAPS, self._namespace, request_name(region))
            except NotFoundError:
                present = None
            asked = read_fences(present).get(policy)
            if asked is not None and asked >= fence:
                return
            self._leadership.check()
            try:
                if present is None:
                    wanted = config_map(self._namespace, request_name(region), {data_key(policy): str(fence)})
                    await self._cluster.create(CONFIG_MAPS, wanted)
                else:
                    data = {**(present.get("data") or {}), data_key(policy): str(fence)}
                    await self._cluster.replace(CONFIG_MAPS, {**present, "data": data})
            except (ConflictError, AlreadyExistsError):
                continue
            return
