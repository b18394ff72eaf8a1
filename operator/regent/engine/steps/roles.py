"""Isolate, FinalSync, Promote and Reverse: the steps that move roles from one region to another.

Order is what keeps data whole here. The old side is proved passive before anything of the new side starts; what the old
side had acknowledged is replayed before it is promoted; and the policy's record of who is active turns only after the
promotion was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.conditions import Condition
from regent.domain.failover.course import PROMOTE, SHIFT, allowed
from regent.domain.failover.options import Fencing, TransitionType
from regent.domain.failover.roles import Role, RoleState
from regent.domain.times import rfc3339_micro
from regent.engine.promotion import Isolation, IsolationState, NoReplication, PromotionDriver, ReplicationInRuns
from regent.engine.records import time_of
from regent.engine.region_epochs import RegionEpochs
from regent.engine.steps.outcome import Done, Failed, Held, Needed, Outcome, Waiting, Work

PASSIVE = (Role.STANDBY, Role.ABSENT)
LOOK_AGAIN = 0.1
"""Seconds between two looks at a change that is on its way."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One driver's state in one region."""

    driver: PromotionDriver
    region: str
    state: RoleState

    @property
    def passive(self) -> bool:
        return self.state.role in PASSIVE

    def __str__(self) -> str:
        text = f"{self.driver.step.name} in {self.region}: {self.state.role.value}"
        return f"{text} ({self.state.message})" if self.state.message else text


async def _observe(drivers: Sequence[PromotionDriver], regions: Sequence[str]) -> list[_Seen]:
    return [_Seen(driver, region, await driver.observe(region)) for region in regions for driver in drivers]


async def _enter(epochs: RegionEpochs | None, work: Work, region: str, name: str) -> None:
    """Leave the run's epoch in the region before it is changed; a greater one there ends the run."""
    if epochs is not None:
        await epochs.enter(region, work.context.spec, work.fence(name))


def _listed(seen: Sequence[_Seen]) -> str:
    return "; ".join(map(str, seen))


class NoAgents:
    """Isolation where no agent can be asked: only what the hub itself sees is proof."""

    async def isolate(self, policy: object, region: str, *, fence: object) -> IsolationState:
        """Say that nobody there can be asked."""
        return IsolationState(proved=False, possible=False, message=f"no agent is known in {region}")


class Isolate:
    """Stops the writers of the old side: demotes what answers, and asks for proof about what does not."""

    def __init__(self, isolation: Isolation, epochs: RegionEpochs | None = None) -> None:
        self._isolation = isolation
        self._epochs = epochs

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when every step is passive in every region that loses its traffic."""
        drained = _drain(work)
        if drained is not None:
            return drained
        if not work.drivers or not work.losing:
            return _nothing_to_stop(work)
        if work.options.fencing is Fencing.NONE and not work.course.planned:
            message = "safety.fencing is None"
            return Done(message=message, skipped=True, condition=Condition("Fenced", "Unknown", "NotAsked", message))
        # The last step is stopped first: workloads before the database that they write to.
        seen = await _observe(list(reversed(work.drivers)), work.losing)
        active = [item for item in seen if not item.passive]
        if not active:
            return Done(message=_listed(seen), condition=Condition("Fenced", "True", "Demoted", _listed(seen)))
        # What is changing may be on its way to somewhere else: it waits for us only once we have asked.
        asked = "appliedTime" in work.draft.entry(name)
        if not asked and any(item.state.role is not Role.UNKNOWN for item in active):
            return Needed(message=_listed(active))
        if all(item.state.role is Role.UNKNOWN for item in active):
            return await self._unreachable(work, name, active)
        if any(item.state.role is Role.ACTIVE for item in active):
            return Needed(message=_listed(active))
        return Waiting(message=_listed(active), retry_after=LOOK_AGAIN)

    async def _unreachable(self, work: Work, name: str, active: Sequence[_Seen]) -> Outcome:
        """What cannot be asked may still be writing: an agent's word or its silence for long enough is the proof."""
        if not any(work.must_be_proved(item.driver.step) for item in active):
            return Waiting(message=_listed(active), retry_after=LOOK_AGAIN)
        states = [
            await self._isolation.isolate(work.context.spec, region, fence=work.fence(name))
            for region in sorted({item.region for item in active})
        ]
        message = "; ".join(state.message for state in states)
        if all(state.proved for state in states):
            return Done(message=message, condition=Condition("Fenced", "True", "AgentIsolated", message))
        return self._without_proof(work, name, states, f"{_listed(active)}; {message}")

    def _without_proof(self, work: Work, name: str, states: Sequence[IsolationState], message: str) -> Outcome:
        required = work.options.fencing is Fencing.REQUIRED
        if work.spec.accept_data_loss:
            text = f"not proved, accepted by spec.control.acceptDataLoss: {message}"
            return Done(message=text, condition=Condition("Fenced", "False", "AcceptedByUser", text))
        # An agent that is connected and does not get it done needs a person's eyes: its silence will never come.
        in_vain = work.draft.running_for(name) > allowed(name, work.options, work.course)
        hopeless = [state for state in states if not (state.proved or state.possible) or (state.asked and in_vain)]
        if required and hopeless:
            what = "Fence the region by hand and set spec.control.acceptDataLoss: true on this Failover, or wait"
            return Held(reason="FencingNotProved", message=f"{message}. {what}")
        retry = min(state.retry_after for state in states) if required else LOOK_AGAIN
        return Waiting(message=message, retry_after=retry)

    async def act(self, work: Work, name: str) -> None:
        """Demote everything that answers and is not passive yet."""
        for region in work.losing:
            await _enter(self._epochs, work, region, name)
            for place, driver in enumerate(reversed(work.drivers)):
                state = await driver.observe(region)
                if state.role not in (*PASSIVE, Role.UNKNOWN):
                    fence = work.fence(name, extra=place)
                    await driver.demote(region, successor=work.to, fence=fence, run=work.run_text)

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """Planned: the hand-over has failed. Unplanned: go on where the policy allows it, else keep waiting."""
        if work.course.planned:
            return Failed(reason="NotDemoted", message=message)
        if work.options.fencing is Fencing.REQUIRED:
            return Waiting(message=message, retry_after=1.0)
        text = f"not proved: {message}"
        return Done(message=text, condition=Condition("Fenced", "False", "NotProved", text))


def _drain(work: Work) -> Waiting | None:
    """Where clients moved first, requests in flight on the old side get their time before it is stopped."""
    if work.course.transition is not TransitionType.GRACEFUL:
        return None
    shifted = time_of(work.draft.entry(SHIFT).get("completionTime"))
    if shifted is None:
        return None
    left = shifted + work.transition.drain - work.draft.wall
    return Waiting(message="requests in flight on the old side finish", retry_after=left) if left > 0 else None


def _nothing_to_stop(work: Work) -> Done:
    why = "no region loses its traffic" if work.drivers else "stateless: nothing writes in the old region"
    return Done(message=why, skipped=True)


class FinalSync:
    """Waits until the new side has replayed what the old side acknowledged, and its copies are the old side's objects;
    when the old side is gone, says what may be lost. An old side that came back in time to be demoted is waited for a
    while, whatever the run is called: what it has can still be had."""

    def __init__(self, replication: ReplicationInRuns | None = None) -> None:
        self._replication = replication or NoReplication()

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when every data step is in step."""
        drivers = [driver for driver in work.drivers if driver.step.holds_data]
        if not work.losing or not work.gaining:
            return Done(message="nothing to replay", skipped=True)
        states = {driver.step.name: await driver.sync(work.source, work.to) for driver in drivers}
        spec, answers = work.context.spec, work.course.planned or _demoted(work)
        states |= await self._replication.synced(spec, work.source, work.to, run=work.run_text, planned=answers)
        if not states:
            return Done(message="nothing to replay", skipped=True)
        if all(state.done for state in states.values()):
            return Done(message="; ".join(f"{step}: {state.message}" for step, state in states.items()))
        message = "; ".join(f"{step}: {state.loss or state.message or state.behind}" for step, state in states.items())
        if not answers:
            work.draft.edit().put(estimatedDataLoss=message[:256])
            return Done(message=f"the old side is gone, replayed as far as received: {message}")
        return Waiting(message=message, retry_after=LOOK_AGAIN)

    async def act(self, work: Work, name: str) -> None:
        """Nothing to ask for: replaying goes on by itself."""

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """Not in step in time: going on would lose writes."""
        if work.course.planned and not work.spec.accept_data_loss:
            return Failed(reason="NotInSync", message=message)
        work.draft.edit().put(estimatedDataLoss=message[:256])
        why = "accepted by spec.control.acceptDataLoss" if work.course.planned else "replayed as far as received"
        return Done(message=f"{why}: {message}")


def _demoted(work: Work) -> bool:
    """Whether the old side answered and was seen passive, so that it can still hand over what it has."""
    conditions = work.draft.journal.status.get("conditions") or ()
    fenced: Mapping[str, Any] = next((item for item in conditions if item["type"] == "Fenced"), {})
    return fenced.get("reason") == "Demoted"


class Promote:
    """Gives the active role to the regions that get traffic, one promotion step after the other."""

    def __init__(self, epochs: RegionEpochs | None = None, replication: ReplicationInRuns | None = None) -> None:
        self._epochs = epochs
        self._replication = replication or NoReplication()

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when the step is active in every such region, and with the last one the copies there are awake."""
        found = await self._look(work, name)
        if not isinstance(found, Done) or not self._wakes(work, name):
            return found
        asleep: list[str] = []
        for region in work.gaining:
            asleep += await self._replication.asleep(work.context.spec, region)
        return Needed(message=f"asleep: {', '.join(asleep)}"[:512]) if asleep else found

    def _wakes(self, work: Work, name: str) -> bool:
        """Copies wake last: what they need (a database, a volume) has its own step before."""
        steps = [item for item in work.course.order if item.partition("/")[0] == PROMOTE]
        return bool(work.gaining) and name == steps[-1]

    async def _look(self, work: Work, name: str) -> Outcome:
        step = name.partition("/")[2]
        if not step or not work.gaining:
            why = "no region is new" if step else "the policy has no promotion steps"
            return Done(message=why, skipped=True)
        driver = work.driver(step)
        if driver is None:
            return Failed(reason="StepRemoved", message=f"spec.promotion.steps has no {step} any more")
        seen = await _observe([driver], work.gaining)
        absent = [item for item in seen if item.state.role is Role.ABSENT]
        if absent:
            return Failed(reason="NothingToPromote", message=_listed(absent))
        if all(item.state.role is Role.ACTIVE for item in seen):
            if driver.step.holds_data:
                point = {"kind": "Data", "time": rfc3339_micro(work.draft.wall)}
                work.draft.edit().put(pointOfNoReturn=point)
            return Done(message=_listed(seen), condition=self._promoted(work, name))
        if any(item.state.role is Role.STANDBY for item in seen):
            return Needed(message=_listed(seen))
        if "appliedTime" not in work.draft.entry(name):
            return Needed(message=_listed(seen))
        return Waiting(message=_listed(seen), retry_after=LOOK_AGAIN)

    def _promoted(self, work: Work, name: str) -> Condition:
        left = [item for item in work.course.order if item.startswith(f"{PROMOTE}/") and item != name]
        left = [item for item in left if item not in work.draft.done()]
        if left:
            return Condition("Promoted", "Unknown", "Promoting", f"to do: {', '.join(left)}")
        return Condition("Promoted", "True", "Promoted", f"every step is active in {', '.join(work.gaining)}")

    async def act(self, work: Work, name: str) -> None:
        """Ask for the role."""
        driver = work.driver(name.partition("/")[2])
        if driver is not None:
            for region in work.gaining:
                await _enter(self._epochs, work, region, name)
                state = await driver.observe(region)
                if state.role is not Role.ACTIVE:
                    await driver.promote(region, source=work.source, fence=work.fence(name), run=work.run_text)
        if self._wakes(work, name) and isinstance(await self._look(work, name), Done):
            for region in work.gaining:
                await self._replication.wake(work.context.spec, region, fence=work.fence(name))

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """The region does not take the role."""
        return Failed(reason="NotPromoted", message=message)


class Reverse:
    """Sees the old side come back as a standby, so that the next failover has somewhere to go."""

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when the old side follows the new one, or cannot be asked."""
        drivers = [driver for driver in work.drivers if driver.step.holds_data]
        if not drivers or not work.losing:
            return Done(message="nothing replicates", skipped=True)
        seen = await _observe(drivers, work.losing)
        gone = [item for item in seen if item.state.role is Role.UNKNOWN]
        if gone:
            message = f"{_listed(gone)}: it rejoins when it is back"
            return Done(message=message, condition=Condition("Reprotected", "False", "Unreachable", message))
        following = all(item.passive and item.state.lag is not None for item in seen)
        if following:
            message = _listed(seen)
            return Done(message=message, condition=Condition("Reprotected", "True", "Following", message))
        return Waiting(message=_listed(seen), retry_after=LOOK_AGAIN * 5)

    async def act(self, work: Work, name: str) -> None:
        """Nothing to ask for: demoting told the old side whom to follow."""

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """The run ends all the same: the application serves; what is missing is shown."""
        return Done(message=message, condition=Condition("Reprotected", "Unknown", "NotFollowing", message))
