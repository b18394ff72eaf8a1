"""Adoption: what is active when the policy's status does not say.

A new policy, a GitOps rebuild and a restore from a backup all leave an empty status. Regent then takes over what it
finds and changes nothing by itself: it never promotes, and sources that disagree are put before a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regent.domain.failover.candidates import judge
from regent.domain.failover.model import Snapshot, Topology
from regent.domain.failover.wanted import group, group_of, wanted
from regent.domain.health.model import AdminState
from regent.domain.traffic import shares

ANNOTATION = "regent.dev/adopt"

FIRST_PROBES = 10.0
"""Seconds in the life of a policy in which regions without an answered probe are waited for, when health has to settle
what is active: Regions and policy are mostly made together, and the fastest answer must not win."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the world says about the past of a policy."""

    target_shares: Mapping[str, Mapping[str, int]]
    """By target, the share of each region in percent as the target's weights have it now."""
    last_run_to: str = ""
    """Where the last committed run went, by the Failover objects."""
    highest_epoch: int = 0
    """The highest epoch in fences on targets and in runs."""
    answer: str = ""
    """Value of the annotation `regent.dev/adopt`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What is active from now on."""

    active_region: str
    distribution: Mapping[str, int]
    epoch: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """It cannot be known yet; `reason` is for the condition Ready."""

    reason: str
    message: str


def adopt(snapshot: Snapshot, evidence: Evidence) -> Adopted | Unsettled:
    """Return what is active, or why that cannot be said.

    In order: what a person answered, the weight majority on the targets, the last run, the first healthy region.
    """
    names = [entry.name for entry in snapshot.policy.regions]
    if evidence.answer and evidence.answer not in names:
        message = f"the annotation {ANNOTATION} names {evidence.answer!r}; write one of {', '.join(names)}"
        return Unsettled(reason="AdoptionAmbiguous", message=message)
    if snapshot.policy.topology is Topology.ACTIVE_ACTIVE:
        return _adopt_shares(snapshot, evidence, names)
    if snapshot.policy.topology is Topology.BLUE_GREEN:
        return _adopt_group(snapshot, evidence, names)
    return _adopt_active(snapshot, evidence, names)


def _adopt_active(snapshot: Snapshot, evidence: Evidence, names: Sequence[str]) -> Adopted | Unsettled:
    claims = {target: majority(share) for target, share in evidence.target_shares.items()}
    claims = {target: region for target, region in claims.items() if region in names}
    if evidence.last_run_to in names:
        claims["the last run"] = evidence.last_run_to
    if evidence.answer:
        active, why = evidence.answer, f"the annotation {ANNOTATION} says so"
    elif len(set(claims.values())) > 1:
        said = ", ".join(f"{source} says {region}" for source, region in sorted(claims.items()))
        return Unsettled(
            reason="AdoptionAmbiguous", message=f"{said}. Annotate the policy with {ANNOTATION}=<region> to settle it"
        )
    elif claims:
        active, why = next(iter(claims.values())), f"{' and '.join(sorted(claims))} say so"
    else:
        waiting = _unseen(snapshot, names)
        if waiting and snapshot.wall_time - snapshot.policy.created_time < FIRST_PROBES:
            message = f"the first probes of {', '.join(waiting)} are not answered yet"
            return Unsettled(reason="ProbesPending", message=message)
        rows = judge(snapshot, desperate=False)
        active = next((row.region for row in rows if row.eligible), "")
        why = "it is the first healthy region in rank order"
    if not active:
        return Unsettled(
            reason="NoHealthyRegion", message="no region is proved healthy yet; nothing is written before one is"
        )
    return Adopted(
        active_region=active,
        distribution=shares.only(names, active),
        epoch=evidence.highest_epoch + 1,
        message=f"{active} is active: {why}",
    )


def _adopt_group(snapshot: Snapshot, evidence: Evidence, names: Sequence[str]) -> Adopted | Unsettled:
    """The group that serves, by its share on the targets: one region of several rarely has the majority alone."""
    policy = snapshot.policy
    grouped = {name: group_of(policy, name) for name in names}
    by_group: dict[str, dict[str, int]] = {}
    for target, share in evidence.target_shares.items():
        sums = by_group.setdefault(target, {})
        for region, part in share.items():
            sums[grouped.get(region, "")] = sums.get(grouped.get(region, ""), 0) + part
    claims = {target: found for target, sums in by_group.items() if (found := majority(sums))}
    if grouped.get(evidence.last_run_to):
        claims["the last run"] = grouped[evidence.last_run_to]
    desired = policy.blue_green.desired if policy.blue_green is not None else ""
    if evidence.answer:
        serving, why = grouped[evidence.answer], f"the annotation {ANNOTATION} says so"
    elif len(set(claims.values())) > 1:
        said = ", ".join(f"{source} says {name}" for source, name in sorted(claims.items()))
        return Unsettled(
            reason="AdoptionAmbiguous", message=f"{said}. Annotate the policy with {ANNOTATION}=<region> to settle it"
        )
    elif claims:
        serving, why = next(iter(claims.values())), f"{' and '.join(sorted(claims))} say so"
    else:
        serving, why = desired, "it is desired"
    members = group(policy, serving)
    eligible = {row.region for row in judge(snapshot, desperate=True, fresh=False) if row.eligible}
    carrying = [name for name in members if name in eligible or name in _unseen(snapshot, members)]
    if not eligible.intersection(members):
        message = f"no region of {serving} is proved healthy yet; nothing is written before one is"
        return Unsettled(reason="NoHealthyRegion", message=message)
    return Adopted(
        active_region=carrying[0],
        distribution=shares.among(dict.fromkeys(names, 1.0), carrying),
        epoch=evidence.highest_epoch + 1,
        message=f"{serving} serves: {why}",
    )


def _adopt_shares(snapshot: Snapshot, evidence: Evidence, names: Sequence[str]) -> Adopted | Unsettled:
    rows = judge(snapshot, desperate=True, fresh=False)
    eligible = [row.region for row in rows if row.eligible]
    # A distribution that an earlier life of the policy left on the targets says which regions were out; they stay out
    # until failback takes them back, or a lost status would end an outage's latch.
    fenced = evidence.highest_epoch > 0
    current = next(iter(evidence.target_shares.values()), {}) if fenced else {}
    out = {name for name in names if current and current.get(name, 0) == 0}
    # A region that nobody has probed yet is not out: leaving it off would move traffic twice within a second. If it is
    # down, a run takes it off as soon as that is known.
    joining = [*eligible, *_unseen(snapshot, names)] if eligible else []
    distribution = shares.among(wanted(snapshot), [name for name in joining if name not in out] or eligible)
    if not distribution:
        return Unsettled(
            reason="NoHealthyRegion", message="no region is proved healthy yet; nothing is written before one is"
        )
    return Adopted(
        active_region="",
        distribution=distribution,
        epoch=evidence.highest_epoch + 1,
        message=f"traffic is shared: {shares.describe(distribution)}",
    )


def _unseen(snapshot: Snapshot, names: Sequence[str]) -> list[str]:
    """Regions that could carry traffic and of which no probe has been answered since they were set up."""
    views = ((name, snapshot.regions.get(name)) for name in names)
    return [
        name
        for name, view in views
        if view is not None and view.exists and view.admin_state is AdminState.ENABLED and not view.settled
    ]


def majority(share: Mapping[str, int]) -> str:
    """The region that holds more than half of the weight, or ""."""
    whole = sum(share.values())
    return next((name for name, part in share.items() if whole and part * 2 > whole), "")
