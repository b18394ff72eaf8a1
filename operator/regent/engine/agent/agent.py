"""The agent of a region: stays in touch with the hub, and stops its side of every policy when it may not serve.

Three loops. `renew` shows the hub that the agent lives. `learn` reads from the hub what there is to guard, and tells it
what is guarded and isolated. `act` decides every moment, by `regent.domain.failover.guarding`, what is to be stopped or
brought back, and does it. Neither of the others ever waits for the hub on behalf of `act`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from regent.domain.errors import ClusterError, NotFoundError
from regent.domain.failover.fence import Fence
from regent.domain.failover.guarding import Act, PolicyView, cut_off, decide, live, own_fence
from regent.domain.failover.isolation import guard
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.roles import Role
from regent.engine.agent.acting import Acting
from regent.engine.agent.memory import Memory, Stopped, trimmed
from regent.engine.agent.presence import HubPresence
from regent.engine.agent.side import Look, Side
from regent.engine.agent_objects import agent_name, config_map, read_fences, request_name
from regent.engine.ports import Clock, Cluster, Metrics, Object
from regent.engine.promotion import DriverFactory
from regent.engine.records import policy_state
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES

log = logging.getLogger("regent.agent")

LEARN = 2.0
"""Seconds between two readings of the policies."""
ASK = 0.5
"""Seconds between two looks for requests of the hub."""
LOOK = 0.25
"""Seconds between two decisions."""
GLANCE = 1.0
"""Seconds for a look at a side that is to stand by."""
GLANCES = 1.0
"""Seconds between two of them."""
AT_ONCE = 16
"""Policies that are stopped at the same time."""


class RegionAgent:
    """Guards one region.

    Args:
        hub: for everything but the renewals, with a time-out of a few seconds.
        factory: makes drivers that reach this region only.
        read_policy: a FailoverPolicy as a domain value; ValueError when it cannot be read.
    """

    def __init__(
        self,
        *,
        region: str,
        namespace: str,
        hub: Cluster,
        presence: HubPresence,
        memory: Memory,
        acting: Acting,
        factory: DriverFactory,
        read_policy: Callable[[Object], PolicySpec],
        duration: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._region = region
        self._namespace = namespace
        self._hub = hub
        self._presence = presence
        self._memory = memory
        self._acting = acting
        self._factory = factory
        self._read_policy = read_policy
        self._duration = duration
        self._clock = clock
        self._metrics = metrics
        self._since: float | None = None
        self._current = False
        self._asked: dict[str, Fence] = {}
        self._isolated: dict[str, Fence] = {}
        self._unsaved: dict[str, Stopped] = {}
        self._told: dict[str, str] | None = None
        self._settled: dict[str, int] = {}
        """Epoch at which a policy's data was last seen to be here what the hub says, by the policy's key."""
        self._glanced: dict[str, float] = {}
        self._acted = clock.monotonic()

    # ---- what others see -------------------------------------------------------------------------------------------

    @property
    def cut(self) -> bool:
        """Whether the hub is lost, so that the region must be fenced."""
        if self._since is None:
            return False
        return cut_off(
            now=self._clock.monotonic(), since=self._since, renewed=self._presence.renewed, duration=self._duration
        )

    def disconnected(self) -> str:
        """Why nothing may start in the region for lack of the hub; "": the lease runs."""
        if not self._acting.acting or self._since is None:
            return self._acting.unsettled or "another agent acts for the region"
        if self.cut or self._presence.renewed is None:
            return f"not connected to the hub: {self._presence.problem or 'for too long'}"
        return ""

    @property
    def stopped(self) -> dict[str, Stopped]:
        """What is stopped now, by the policy's key."""
        return {**self._memory.stopped, **self._unsaved}

    def idle(self) -> float:
        """Seconds since the last decision ended."""
        return self._clock.monotonic() - self._acted

    def unready(self) -> str:
        """Why the agent cannot do its work yet; "": it can, or another one does."""
        if not self._acting.acting:
            return self._acting.unsettled
        if self._presence.problem:
            return f"not connected to the hub: {self._presence.problem}"
        return "" if self._current else "the policies have not been read yet"

    # ---- loops -----------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Show the hub that the agent lives, until cancelled."""
        interval = min(1.0, self._duration / 5)
        while True:
            started = self._clock.monotonic()
            if self._begun():
                await self._presence.renew(impaired=self._acting.impaired)
            self._metrics.gauge("regent_agent_connected", float(self._since is not None and not self.cut))
            await asyncio.sleep(max(0.0, started + interval - self._clock.monotonic()))

    async def learn(self) -> None:
        """Keep up with the hub, until cancelled."""
        due = self._clock.monotonic()
        while True:
            if self._since is not None and self._presence.renewed is not None:
                try:
                    if self._clock.monotonic() >= due or not self._current:
                        await self._learn_policies()
                        due = self._clock.monotonic() + LEARN
                    self._asked = await self._requests()
                    await self._tell()
                except ClusterError as error:
                    log.log(logging.DEBUG if self.cut else logging.WARNING, "Not learnt from the hub: %s", error)
            await asyncio.sleep(ASK)

    async def act(self) -> None:
        """Decide and do, until cancelled."""
        limit = asyncio.Semaphore(AT_ONCE)
        while True:
            if self._since is not None:
                await self._remember()
                if self.cut:
                    # What was read before is no ground for bringing anything back.
                    self._current = False
                keys = sorted({*self._memory.policies, *self.stopped})
                await asyncio.gather(*(self._one(key, limit) for key in keys))
            self._acted = self._clock.monotonic()
            await asyncio.sleep(LOOK)

    # ---- the hub ---------------------------------------------------------------------------------------------------

    def _begun(self) -> bool:
        """Whether this process acts; notes the moment when it begins and when it ends."""
        if self._acting.acting and self._since is None:
            log.info("Acting for region %s", self._region)
            self._presence.begin()
            self._memory.loaded = self._current = False
            # What happened before this moment is not known, whatever another agent of the region has seen.
            self._settled.clear()
            self._since = self._clock.monotonic()
        elif not self._acting.acting:
            self._since = None
        return self._since is not None

    async def _learn_policies(self) -> None:
        # Read after a renewal that the hub can see, or not at all: a run that commits after this reading finds us alive
        # and asks; one that had waited for our silence is in what we read.
        connected = not self.cut
        found = await self._hub.list(FAILOVER_POLICIES)
        policies = {}
        for obj in found:
            spec = self._spec(obj)
            if spec is None or spec.region(self._region) is None or not spec.options.promotion:
                continue
            # Where nobody has said yet who is active, nobody could say afterwards that this region's side may go on.
            if policy_state(obj).adopted or spec.key in self.stopped:
                policies[spec.key] = trimmed(obj)
        if self._memory.loaded:
            await self._memory.learn(policies)
            self._current = connected and not self.cut

    async def _requests(self) -> dict[str, Fence]:
        try:
            return read_fences(await self._hub.get(CONFIG_MAPS, self._namespace, request_name(self._region)))
        except NotFoundError:
            return {}

    async def _tell(self) -> None:
        """Write what is guarded and isolated where the hub reads it, when it is not what stands there."""
        guards, problems = {}, {}
        for key in self._memory.policies if self._memory.loaded else ():
            side = self._side(key)
            if side is None:
                continue
            if side.problems:
                problems[key] = "; ".join(side.problems.values())[:512]
            if side.guarded:
                guards[key] = guard(side.policy)
        isolated = {key: str(fence) for key, fence in self._isolated.items()}
        data = {
            name: json.dumps(value, sort_keys=True)
            for name, value in (("guards", guards), ("isolated", isolated), ("problems", problems))
        }
        if data == self._told:
            return
        name = agent_name(self._region)
        try:
            present = await self._hub.get(CONFIG_MAPS, self._namespace, name)
            if present.get("data") != data:
                await self._hub.replace(CONFIG_MAPS, {**present, "data": data})
        except NotFoundError:
            await self._hub.create(CONFIG_MAPS, config_map(self._namespace, name, data))
        self._told = data

    # ---- the region ------------------------------------------------------------------------------------------------

    async def _remember(self) -> None:
        if self._memory.loaded:
            return
        try:
            await self._memory.load()
        except ClusterError as error:
            log.warning("The agent's notes cannot be read: %s", error)
            return
        for key in self._memory.stopped:
            log.warning("Stopped before this agent began, and kept so", extra={"object": key})

    async def _one(self, key: str, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                await self._decide(key)
            except ClusterError as error:
                log.warning("Not done: %s", error, extra={"object": key})

    async def _decide(self, key: str) -> None:
        obj = self._memory.policies.get(key)
        view = _view(obj, self._region, current=self._current)
        asked = self._asked.get(key)
        settled = self._settled.get(key) == view.epoch
        act = decide(fenced=key in self.stopped, cut=self.cut, asked=asked, view=view, settled=settled)
        namespace, _, name = key.partition("/")
        self._metrics.gauge("regent_agent_stopped", float(key in self.stopped), namespace=namespace, policy=name)
        if act is Act.NOTHING:
            return
        side = self._side(key)
        if act is Act.FENCE and side is not None:
            await self._stop(key, side, view, asked if live(asked, view) else None)
        elif act is Act.RESTORE and side is not None:
            await self._bring_back(key, side)
        elif act is Act.LET_GO:
            await self._let_go(key, side, view)

    async def _let_go(self, key: str, side: Side | None, view: PolicyView) -> None:
        """Another region is active. Data that is not passive here came back by itself, or could not be reached when it
        had to be stopped: it is stopped first, and follows, or is held back where it has taken writes meanwhile."""
        if side is not None and side.holds_data:
            look = await self._glance(key, side)
            if look is None or not look.settled:
                if look is not None and look.fence is not None and look.fence.epoch > view.epoch:
                    # A hub that was restored from a backup: it has forgotten who is active, and finds out by itself.
                    log.warning("Left alone: it carries %s, the hub is behind", look.fence, extra={"object": key})
                elif look is not None and look.returned:
                    await self._stop(key, side, view, None, look=look)
                return
        if key in self.stopped:
            log.info("Let go: another region is active", extra={"object": key})
            await self._forget(key)
        self._settled[key] = view.epoch

    async def _glance(self, key: str, side: Side) -> Look | None:
        """Look for a short time, and not all the time: this is done in peace, and must not hold up the fencing of other
        policies. None: nothing was seen."""
        now = self._clock.monotonic()
        if now - self._glanced.get(key, float("-inf")) < GLANCES:
            return None
        self._glanced[key] = now
        try:
            async with asyncio.timeout(GLANCE):
                return await side.look()
        except TimeoutError:
            return None

    async def _stop(
        self, key: str, side: Side, view: PolicyView, asked: Fence | None, *, look: Look | None = None
    ) -> None:
        """Stop the side. `look`: given where another region is known to be active."""
        active = "" if look is None else policy_state(self._memory.policies[key]).active_region
        look = await side.look() if look is None else look
        stopped = self.stopped.get(key)
        if stopped is None:
            fence = own_fence(epoch=view.epoch, found=look.fence, asked=asked)
            why = f"the hub asks for it at {asked}" if asked else "the hub cannot be reached"
            why = f"{active} is active" if active else why
            log.warning("Stopping this region's side: %s", why, extra={"object": key, "fence": str(fence)})
        else:
            fence = max(stopped.fence, asked or stopped.fence)
            if self.cut:
                # Without its lease the region may not serve, whoever has activated it since: the hub would otherwise
                # take for stopped, by our silence, what it has itself started meanwhile.
                fence = max(fence, look.fence or fence)
        await self._note(key, Stopped(fence=fence, snapshots=_snapshots(stopped, look)))
        if not look.passive:
            self._isolated.pop(key, None)
            await side.stop(look, fence, active=active)
            look = await side.look()
        if look.passive and self._isolated.get(key) != fence:
            log.warning("This region's side is stopped", extra={"object": key, "fence": str(fence)})
            self._isolated[key] = fence

    async def _bring_back(self, key: str, side: Side) -> None:
        stopped = self.stopped[key]
        if self._isolated.pop(key, None) is not None:
            # The hub must not rely on a word that is about to become untrue.
            await self._tell()
        if self.cut:
            return
        log.warning("Bringing this region's side back: it is active and no run holds the policy", extra={"object": key})
        if await side.bring_back(stopped.snapshots, stopped.fence):
            await self._forget(key)
            self._settled.pop(key, None)

    async def _note(self, key: str, stopped: Stopped) -> None:
        """Write the note before the act. A region whose API server is away is fenced without."""
        if self.stopped.get(key) == stopped and key not in self._unsaved:
            return
        try:
            await self._memory.note(key, stopped)
            self._unsaved.pop(key, None)
        except ClusterError as error:
            if key not in self._unsaved:
                log.warning("Stopped without a note: %s", error, extra={"object": key})
            self._unsaved[key] = stopped

    async def _forget(self, key: str) -> None:
        self._isolated.pop(key, None)
        await self._memory.note(key, None)
        self._unsaved.pop(key, None)

    def _side(self, key: str) -> Side | None:
        obj = self._memory.policies.get(key)
        return self.side_of(obj) if obj is not None else None

    def side_of(self, obj: Object) -> Side | None:
        """The region's side of a policy; None when it cannot be read."""
        spec = self._spec(obj)
        return Side(spec, region=self._region, factory=self._factory) if spec is not None else None

    def view_of(self, obj: Object) -> PolicyView:
        """How a policy stands that was read just now."""
        return _view(obj, self._region, current=True)

    def _spec(self, obj: Object) -> PolicySpec | None:
        try:
            return self._read_policy(obj)
        except ValueError as error:
            log.debug("FailoverPolicy cannot be read: %s", error)
            return None


def _view(obj: Object | None, region: str, *, current: bool) -> PolicyView:
    if obj is None:
        # Deleted on the hub: nobody asks for it any more, and nobody says that it is active here.
        return PolicyView(epoch=0, held=False, active=False, current=current)
    state = policy_state(obj)
    active = state.active_region == region or state.distribution.get(region, 0) > 0
    return PolicyView(
        epoch=state.epoch, held=state.operation is not None, active=active, current=current and state.adopted
    )


def _snapshots(stopped: Stopped | None, look: Look) -> dict[str, dict[str, object]]:
    """What each step was before it was stopped: the first look that saw it counts."""
    known = {} if stopped is None else {name: dict(snapshot) for name, snapshot in stopped.snapshots.items()}
    for name, state in look.states.items():
        if name not in known and state.role is not Role.UNKNOWN and state.snapshot:
            known[name] = dict(state.snapshot)
    return known
