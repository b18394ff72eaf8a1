"""Verify and Shift: the steps that decide when clients go to the new region, and send them there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from regent.domain.conditions import Condition
from regent.domain.errors import TargetProblemError
from regent.domain.failover.candidates import proved
from regent.domain.failover.course import PROMOTE, SHIFT, stage_of
from regent.domain.times import rfc3339_micro
from regent.domain.traffic import shares
from regent.engine.alignment import Alignment, TargetReport
from regent.engine.records import time_of
from regent.engine.region_epochs import RegionEpochs
from regent.engine.steps.outcome import Done, Failed, GivenUp, Needed, Outcome, Waiting, Work
from regent.engine.traffic import owner_text

READ_BACK = 5.0
"""Seconds for which a run waits for the data plane's word after the weights are written. Then it ends all the same:
the weights are there, and `TrafficVerified` says what is missing."""

PROOFS = 2
"""Rounds of good probes after a promotion before traffic follows: one may still be of the time before it."""


class Verify:
    """Waits for proof that the new region serves with its new role."""

    def __init__(self) -> None:
        # Which proof was the last one counted, by run and attempt. Forgetting it only means to count again.
        self._proofs: dict[tuple[str, int], tuple[float, int]] = {}

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when every region that gets traffic is proved healthy, after a promotion N rounds in a row."""
        if not work.gaining or work.spec.force:
            message = "no region is new" if not work.gaining else "spec.control.force skips the target's health"
            return Done(message=message)
        views = [work.context.snapshot.regions[region] for region in work.gaining]
        down = [view.name for view in views if not view.exists or view.health.down]
        if down:
            return Failed(reason="TargetDown", message=f"{', '.join(down)} does not answer")
        if not all(proved(view, now=work.context.snapshot.now) for view in views):
            return Waiting(message=f"waiting for fresh probes of {', '.join(work.gaining)}", retry_after=0.1)
        if not any(step.startswith(f"{PROMOTE}/") for step in work.course.order):
            return Done(message="proved healthy by the probes that the decision rests on")
        key = (work.spec.uid, work.draft.attempt)
        newest = min(view.health.proved_at or 0.0 for view in views)
        last, count = self._proofs.get(key, (newest, 0))
        if newest > last:
            last, count = newest, count + 1
        self._proofs[key] = (last, count)
        if count < PROOFS:
            return Waiting(message=f"{count} of {PROOFS} good rounds since the promotion", retry_after=0.05)
        del self._proofs[key]
        return Done(message=f"{PROOFS} rounds of good probes since the promotion")

    async def act(self, work: Work, name: str) -> None:
        """Nothing to ask for: probes go on by themselves."""

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """The region has its role and does not serve."""
        return Failed(reason="NotServing", message=message)


class Shift:
    """Writes the weights and reads them back; a stage of a gradual shift is held and watched."""

    def __init__(self, alignment: Alignment) -> None:
        self._alignment = alignment

    async def look(self, work: Work, name: str) -> Outcome:
        """Done when the data plane has answered (or has had its time), and a stage was held without trouble."""
        entry = work.draft.entry(name)
        if not entry.get("message"):
            return Needed()
        worse = _worse(work)
        if worse:
            return Failed(reason="TargetWorse", message=worse)
        reports = await self._alignment.keep(
            work.context.targets,
            distribution(work, name),
            epoch=work.epoch,
            owner=owner_text(work.context.spec),
            may_write=True,
            insist=True,
        )
        work.reports = reports
        late = min(work.draft.applied_for(name), work.draft.attended_for(name)) > READ_BACK
        if not late and any(report.verification == "Pending" for report in reports):
            retry = min((report.retry_after or 0.5 for report in reports), default=0.5)
            return Waiting(message=str(entry["message"]), retry_after=retry, reports=reports)
        # From when the weights were there, not from when somebody meant to write them and died.
        left = _hold(work, name) - work.draft.applied_for(name)
        if left > 0:
            return Waiting(message=str(entry["message"]), retry_after=min(left, 1.0), reports=reports)
        return self._done(work, name, entry, reports)

    def _done(self, work: Work, name: str, entry: Mapping[str, object], reports: Sequence[TargetReport]) -> Done:
        proof = "; ".join(f"{report.ref}: {report.verification}" for report in reports) or "the policy has no targets"
        text = f"traffic is at {shares.describe(distribution(work, name))} ({proof})"
        good = all(report.settled for report in reports)
        whole = Condition("TrafficShifted", "True" if good else "Unknown", "Succeeded", text)
        part = Condition("TrafficShifted", "False", "Shifting", text)
        return Done(message=f"{entry['message']}; {text}", condition=whole if name == SHIFT else part)

    async def act(self, work: Work, name: str) -> None:
        """Write the weights of this stage to every target.

        Raises:
            TargetProblemError: no target took them.
            FencedOffError: a newer run or leader has been at a target.
        """
        written = await self._alignment.shift(
            work.context.targets,
            distribution(work, name),
            fence=work.fence(name),
            owner=owner_text(work.context.spec),
        )
        done = [report.ref for report in written if report.verification == "Pending"]
        failed = "; ".join(f"{report.ref}: {report.message}" for report in written if report.verification != "Pending")
        if written and not done:
            work.reports = written
            raise TargetProblemError("NothingWritten", f"no target took the weights: {failed}")
        text = f"weights written to {', '.join(done) or 'no target'} at {rfc3339_micro(work.draft.wall)}"
        work.draft.step(name, "Running", f"{text}{'; ' + failed if failed else ''}")
        work.draft.applied(name)
        work.draft.edit().condition("TrafficShifted", "Unknown", "WeightsWritten", text)
        await work.draft.flush()

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """The policy's upkeep goes on trying: a deadline decides what is reported, never what is safe."""
        return GivenUp(reason="NothingWritten", message=message)


def distribution(work: Work, name: str) -> Mapping[str, int]:
    """The shares that a Shift step makes."""
    percent = stage_of(name)
    return work.after if percent == shares.FULL else shares.blend(work.before, work.after, percent)


def _hold(work: Work, name: str) -> float:
    percent = stage_of(name)
    return next((stage.hold for stage in work.transition.stages if stage.percent == percent), 0.0)


def _worse(work: Work) -> str:
    """Why the regions that get traffic are worse than before; "" when they are not. A planned run is not gone on with
    either while a region is down that had traffic and keeps it: as long as it is held, it keeps the failover away."""
    found = []
    kept = [name for name, share in work.after.items() if share and share >= work.before.get(name, 0) > 0]
    for region in kept if work.course.planned else ():
        view = work.context.snapshot.regions.get(region)
        if view is None or not view.exists or view.health.down:
            found.append(f"{region} does not answer")
    for region in work.gaining:
        view = work.context.snapshot.regions[region]
        if not view.exists or view.health.down:
            found.append(f"{region} does not answer")
        elif view.fired:
            found.extend(trigger.message for trigger in view.fired)
    return "" if work.spec.force else "; ".join(found)


class Stabilize:
    """Says how long it took from the first sign to moved traffic."""

    async def look(self, work: Work, name: str) -> Outcome:
        """Done at once: the figure is worked out from the journal."""
        status = work.draft.journal.status
        detected = time_of(status.get("detectionTime")) or time_of(status.get("startTime"))
        shifted = time_of(work.draft.entry(SHIFT).get("completionTime"))
        if detected is None or shifted is None:
            return Done(message="no traffic was moved", skipped=True)
        return Done(message=f"traffic had moved {max(0.0, shifted - detected):.2f} s after the first sign")

    async def act(self, work: Work, name: str) -> None:
        """Nothing to ask for."""

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """Never waits."""
        return Done(message=message)


class Finalize:
    """Leaves the run's epoch in every region of the policy, and ends the journal; the terminal phase comes with it.

    The regions that were changed have it already. The others get it so that a hub that is built anew finds it whichever
    region is left to ask. Where a region does not answer, the run does not wait for it.
    """

    def __init__(self, epochs: RegionEpochs | None = None) -> None:
        self._epochs = epochs

    async def look(self, work: Work, name: str) -> Outcome:
        """Done once it was tried; at once where nothing was promoted, which leaves no epoch in regions at all."""
        if self._epochs is None or not work.drivers or work.draft.entry(name):
            return Done(message="")
        return Needed(message="the epoch is left in every region")

    async def act(self, work: Work, name: str) -> None:
        """Store the epoch in the regions that are up."""
        if self._epochs is None:
            return
        views = work.context.snapshot.regions
        up = [region for region, view in views.items() if view.exists and not view.health.down]
        await asyncio.gather(*(self._epochs.enter(region, work.context.spec, work.fence(name)) for region in up))

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """Never waits."""
        return Done(message=message)
