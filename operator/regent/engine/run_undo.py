"""Undoes what a run has done in its present attempt, in reverse order, and proves it.

Going back is fenced like going forward: the epoch is raised first, so that a late write of the attempt that is undone
can never land on top of the undo. A candidate that was half promoted has to be *proved* passive before the next one is
tried: two half-promoted regions are worse than none, so without proof the run waits for a person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.errors import ClusterError, PromotionProblemError
from regent.domain.failover.course import ISOLATE, PROMOTE, ROLL_BACK, SHIFT
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role
from regent.domain.failover.setback import Way
from regent.engine.alignment import Alignment
from regent.engine.policy_writer import PolicyWriter
from regent.engine.ports import Leadership
from regent.engine.promotion import PromotionDriver
from regent.engine.region_epochs import RegionEpochs
from regent.engine.run_objects import take_snapshot
from regent.engine.run_progress import ASK_AGAIN, Arrived, Later, TurnedBack
from regent.engine.steps.outcome import Work
from regent.engine.traffic import owner_text


class NextCandidate:
    """The attempt is undone; another region is to be tried."""


Undone = Arrived | Later | NextCandidate


class RunUndo:
    """Takes a run back. Resumable at any point: every undo looks first."""

    def __init__(
        self,
        *,
        alignment: Alignment,
        policies: PolicyWriter,
        leadership: Leadership,
        epochs: RegionEpochs | None = None,
    ) -> None:
        self._epochs = epochs
        self._alignment = alignment
        self._policies = policies
        self._leadership = leadership

    async def begin(self, work: Work, back: TurnedBack) -> Undone:
        """Write down that and why the attempt is undone, then undo."""
        draft = work.draft
        attempts = [*(draft.journal.status.get("attempts") or ())]
        attempts.append({"region": work.to, "result": back.turn.way.value, "reason": back.message[:1024]})
        draft.edit().put(phase="RollingBack", attempts=attempts)
        draft.step(ROLL_BACK, "Running", f"{back.message}. {back.turn.reason}: {back.turn.message}")
        draft.edit().condition("Ready", "Unknown", back.turn.reason, back.message)
        await draft.flush()
        return await self.advance(work)

    async def advance(self, work: Work) -> Undone:
        """Go on undoing.

        Raises:
            FencedOffError: a newer run or leader was met.
        """
        await self._raise_epoch(work)
        restoring = _way(work) is Way.RESTORE
        try:
            waiting = await self._traffic(work) or await self._roles(work, restoring=restoring)
        except (ClusterError, PromotionProblemError) as error:
            waiting = Later(ASK_AGAIN, action=f"undoing: {error}")
        if waiting is not None:
            await work.draft.flush()
            return waiting
        if not restoring:
            work.draft.step(ROLL_BACK, "Succeeded", f"{work.to} is proved passive")
            return NextCandidate()
        return await self._prove(work)

    async def _raise_epoch(self, work: Work) -> None:
        """Once for each undo: whatever of the attempt is still under way is fenced off from then on."""
        status = work.draft.journal.status
        attempts = [*status["attempts"]]
        if attempts[-1].get("epoch"):
            return
        # An epoch above the run's own was raised before a crash, and only the journal does not know it yet.
        if int(status.get("epoch") or 0) == work.epoch:
            work.context = await self._policies.turned_back(work)
        attempts[-1] = {**attempts[-1], "epoch": work.epoch}
        work.draft.edit().put(epoch=work.epoch, attempts=attempts)
        await work.draft.flush()

    async def _traffic(self, work: Work) -> Later | None:
        """Bring the weights back first: clients come before everything else."""
        moved = [name for name in reversed(work.course.order) if name.partition("/")[0] == SHIFT and _acted(work, name)]
        if not moved:
            return None
        self._leadership.check()
        written = await self._alignment.shift(
            work.context.targets, work.before, fence=self._fence(work, 0), owner=owner_text(work.context.spec)
        )
        failed = [report for report in written if report.verification != "Pending"]
        if failed:
            return Later(ASK_AGAIN, action="; ".join(f"{report.ref}: {report.message}" for report in failed))
        for name in moved:
            work.draft.step(name, "Undone", "the weights are those of before")
        work.draft.edit().condition("TrafficShifted", "False", "RolledBack", "the weights are those of before")
        return None

    async def _roles(self, work: Work, *, restoring: bool) -> Later | None:
        """Take the role from the new side, then (restoring) give it back to the old one."""
        promoted = [name for name in reversed(work.course.order) if name.startswith(f"{PROMOTE}/")]
        # Counted over all of them, also those that are undone already: a fence may only rise.
        for place, name in enumerate(promoted):
            if not _acted(work, name):
                continue
            step = name.partition("/")[2]
            driver = work.driver(step)
            if driver is None:
                return Later(
                    ASK_AGAIN * 4, action=f"put {step} back into spec.promotion.steps, so that it can be undone"
                )
            for region in work.gaining:
                waiting = await self._demoted(work, driver, region, self._fence(work, 1 + place))
                if waiting is not None:
                    return waiting
            work.draft.step(name, "Undone", f"passive in {', '.join(work.gaining)}")
        if not restoring or not _acted(work, ISOLATE):
            return None
        for place, driver in enumerate(work.drivers):
            for region in work.losing:
                waiting = await self._restored(work, driver, region, self._fence(work, 50 + place))
                if waiting is not None:
                    return waiting
        back = [region for region in work.losing if region not in self._gone(work)]
        work.draft.step(ISOLATE, "Undone", f"active in {', '.join(back) or 'no region'} again")
        return None

    @staticmethod
    def _gone(work: Work) -> list[str]:
        """Regions of before that are down by now. They are not waited for: a run that holds the policy until a dead
        region answers keeps every failover away. It ends as failed, and what comes next is decided anew."""
        views = {region: work.context.snapshot.regions.get(region) for region in work.losing}
        return [name for name, view in views.items() if view is None or not view.exists or view.health.down]

    async def _demoted(self, work: Work, driver: PromotionDriver, region: str, fence: Fence) -> Later | None:
        state = await driver.observe(region)
        taken = _snapshot_of(work, driver, region)
        passive = state.role in (Role.STANDBY, Role.ABSENT)
        # What served on both sides before, and loses nothing by it, may go on serving.
        as_before = bool(taken) and dict(state.snapshot) == taken
        if (passive and (as_before or not taken)) or (as_before and not driver.step.holds_data):
            return None
        if state.role is Role.UNKNOWN:
            what = f"{region} has to be proved passive before another region is tried: {state.message}"
            return Later(ASK_AGAIN * 4, action=what)
        await self._enter(work, region, fence)
        self._leadership.check()
        if taken:
            await driver.restore(region, taken, fence=fence, run=work.run_text)
        else:
            await driver.demote(region, successor=work.source, fence=fence, run=work.run_text)
        return Later(ASK_AGAIN)

    async def _restored(self, work: Work, driver: PromotionDriver, region: str, fence: Fence) -> Later | None:
        state = await driver.observe(region)
        taken = _snapshot_of(work, driver, region)
        if not taken:
            return None  # it could not be asked before the run either: there is nothing to go back to
        if state.role is Role.UNKNOWN and region in self._gone(work):
            return None
        if state.role is Role.UNKNOWN:
            return Later(ASK_AGAIN * 4, action=f"{region} cannot be asked: {state.message}")
        if dict(state.snapshot) == taken:
            return Later(ASK_AGAIN) if state.role is Role.CHANGING else None
        await self._enter(work, region, fence)
        self._leadership.check()
        await driver.restore(region, taken, fence=fence, run=work.run_text)
        return Later(ASK_AGAIN)

    async def _enter(self, work: Work, region: str, fence: Fence) -> None:
        """Leave the undo's epoch in the region before it is changed; a greater one there ends the run."""
        if self._epochs is not None:
            await self._epochs.enter(region, work.context.spec, fence)

    async def _prove(self, work: Work) -> Arrived:
        """The state hash after must be the hash before."""
        draft = work.draft
        after = await take_snapshot(
            work.context.targets, work.before, work.drivers, [*work.losing, *work.gaining], fresh=True
        )
        before = draft.journal.status.get("snapshot") or {}
        same = after["hash"] == before.get("hash")
        evidence = f"state {after['hash']}" + ("" if same else f", before it was {before.get('hash')}: compare them")
        draft.step(ROLL_BACK, "Succeeded" if same else "Failed", evidence)
        last = (draft.journal.status.get("attempts") or [{}])[-1]
        reason = str(last.get("reason", ""))
        works = work.context.snapshot.regions.get(work.source)
        gone = works is None or not works.exists or works.health.down
        if gone or not same:
            return Arrived("Failed", "NoCandidateLeft" if same else "StateDiffers", f"{reason}; {evidence}")
        return Arrived("RolledBack", "RolledBack", f"{reason}; {evidence}")

    def _fence(self, work: Work, extra: int) -> Fence:
        # In an epoch of its own, so any sequence will do as long as later undos have later ones.
        return Fence(work.epoch, work.transitions, 1 + extra)


def undoing(status: Mapping[str, Any]) -> bool:
    """Whether the run's present attempt is being undone."""
    steps: Sequence[Mapping[str, Any]] = status.get("steps") or ()
    attempt = max((item["attempt"] for item in steps), default=1)
    return any(i["name"] == ROLL_BACK and i["attempt"] == attempt and i["state"] == "Running" for i in steps)


def _way(work: Work) -> Way:
    attempts = work.draft.journal.status.get("attempts") or [{}]
    return Way.NEXT if attempts[-1].get("result") == Way.NEXT.value else Way.RESTORE


def _acted(work: Work, name: str) -> bool:
    """Whether the step may have had an effect that is not undone yet."""
    return work.draft.entry(name).get("state") in ("Running", "Succeeded", "Failed")


def _snapshot_of(work: Work, driver: PromotionDriver, region: str) -> dict[str, Any]:
    body = str((work.draft.journal.status.get("snapshot") or {}).get("body") or "{}")
    roles = json.loads(body).get("roles") or {}
    return dict((roles.get(driver.step.name) or {}).get(region) or {})
