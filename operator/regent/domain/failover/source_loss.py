"""What a planned run does when the region that it is leaving fails before the hand-over is complete.

Waiting for a hand-over that cannot come any more would hold the policy, and with it every failover, for as long as the
region stays down. So the run goes on as a failover, where one would have been made: in mode Automatic, with a verdict
that is believed. Otherwise it waits for a person. Neighbours: `gates` holds runs that have not begun by the same rules,
`setback` chooses the way when the *new* region fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regent.domain.failover.lag import lag_of
from regent.domain.failover.model import Mode, Snapshot
from regent.domain.failover.options import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A planned run that is under way, as far as this choice depends on it."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    to: str
    synced: bool
    """The new side has all that the old one had acknowledged, or there is nothing to replay."""
    force: bool
    accept_data_loss: bool


@dataclass(frozen=True, slots=True)
class SourceLoss:
    """The region is lost. `remedy`: what a person can do, who has to decide; "": the run goes on as a failover."""

    message: str
    remedy: str = ""


def lost_regions(snapshot: Snapshot, before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Regions that give up traffic in a run and are down, or gone."""
    giving = [name for name, share in before.items() if share > after.get(name, 0)]
    views = {name: snapshot.regions.get(name) for name in giving}
    return [name for name, view in views.items() if view is None or not view.exists or view.health.down]


def believed(snapshot: Snapshot, region: str) -> bool:
    """Whether a failover would be made of the verdict that `region` is down: no doubt about who is wrong."""
    view = snapshot.regions.get(region)
    if view is None or not view.exists:
        return True
    votes = view.health.down_votes >= snapshot.policy.safety.quorum
    return view.settled and votes and not (snapshot.in_grace or snapshot.suspect_observer or snapshot.panic)


def judge_loss(snapshot: Snapshot, handover: Handover) -> SourceLoss | None:
    """Return how a planned run takes it that what it leaves has failed; None: nothing has, or it is not sure yet."""
    lost = [name for name in lost_regions(snapshot, handover.before, handover.after) if believed(snapshot, name)]
    if not lost:
        return None
    message = f"{', '.join(lost)} failed during the hand-over"
    policy = snapshot.policy
    if policy.mode is Mode.MANUAL and not handover.force:
        remedy = "mode is Manual: set spec.control.force to go on as a failover, or desired: Rollback"
        return SourceLoss(message, remedy)
    if handover.synced or handover.accept_data_loss:
        return SourceLoss(message)
    lag = lag_of(snapshot, handover.to)
    if lag is not None and lag.refusal:
        return SourceLoss(message, f"{lag.refusal}: set spec.control.acceptDataLoss to go on as a failover")
    if policy.options.holds_data and policy.options.approval is not Approval.NEVER:
        remedy = (
            f"safety.approval is {policy.options.approval.value}, and the plan that was approved lost nothing: set "
            "spec.control.acceptDataLoss to go on as a failover"
        )
        return SourceLoss(message, remedy)
    return SourceLoss(message)
