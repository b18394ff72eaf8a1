"""Takes regions back that a run had to leave without proof: they may still believe that they are active.

A run that could not stop its old side writes the region into the policy's `status.rejoin`. When the region answers
again, what it wrote after it was left decides: nothing, then its steps are demoted and follow the active region;
something, then that is reported, nothing is overwritten, and a person says whether these writes may go, with the
annotation `regent.dev/rejoin: <region>@<epoch>`. The epoch is the policy's present one: an annotation that was left
there, or comes back from Git, allows nothing about what is written after a later failover. Regions that are not in the
list are never touched.

A region that was demoted, or was taken back, is not in the list, but its machines may start again by themselves. Where
its database is kept from its promotion, or its agent has held it back, it comes into the list as well.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.errors import ClusterError, FencedOffError, PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState
from regent.engine.policy_writes import REJOIN_ANNOTATION
from regent.engine.ports import Leadership, Object, Recorder
from regent.engine.promotion import PromotionDriver
from regent.engine.records import annotations_of, status_of
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.role_watch import RoleWatch
from regent.engine.run_context import Context
from regent.engine.status import StatusWriter
from regent.engine.steps.roles import PASSIVE

log = logging.getLogger("regent.rejoin")

SEQUENCE = 100_000
"""Sequence of the fences of rejoining: above every step of the run that left the region, in the same epoch."""
RETRY = 2.0
STUCK = "needs a person: "
"""How the message about a region begins that no annotation brings back."""


@dataclass(frozen=True, slots=True)
class Rejoining:
    """`action`: what a person has to say. `retry_after`: None when no region is waited for."""

    action: str = ""
    retry_after: float | None = None


class Rejoin:
    """Brings left regions back as standbys."""

    def __init__(self, *, watch: RoleWatch, status: StatusWriter, leadership: Leadership, recorder: Recorder) -> None:
        self._watch = watch
        self._status = status
        self._leadership = leadership
        self._recorder = recorder

    async def advance(self, context: Context) -> Rejoining:
        """Go on with every region that is still to come back."""
        rows = [dict(row) for row in status_of(context.policy).get("rejoin") or ()]
        known = {str(row["region"]) for row in rows}
        rows += [{"region": region} for region in self._returned(context) if region not in known]
        if not rows or context.state.operation is not None:
            return Rejoining()
        left: list[dict[str, Any]] = []
        for row in rows:
            message = await self._region(context, str(row["region"]))
            if message is not None:
                left.append({"region": row["region"], "message": message[:1024]})
        await self._write(context, left)
        said = [f"{row['region']}: {row['message']}" for row in left if _needs_person(str(row["message"]))]
        return Rejoining("; ".join(said), RETRY if left else None)

    def _returned(self, context: Context) -> list[str]:
        """Regions whose data is up again and is not let go on, while another one is active."""
        data = {driver.step.name for driver in context.drivers if driver.step.holds_data}
        states = self._watch.roles(context.spec.uid).states.items()
        found = {region for (step, region), state in states if step in data and (state.held or _kept(state))}
        serving = {region for region, share in context.state.distribution.items() if share}
        return sorted(found - {context.state.active_region} - serving)

    async def _region(self, context: Context, region: str) -> str | None:
        """What the region waits for; None when it is a standby again, or active by a later decision."""
        if context.state.distribution.get(region) or context.state.active_region == region:
            return None
        roles = self._watch.roles(context.spec.uid)
        states = {driver.step.name: roles.states.get((driver.step.name, region)) for driver in context.drivers}
        silent = [name for name, state in states.items() if state is None or state.role is Role.UNKNOWN]
        if silent:
            return f"{', '.join(silent)} cannot be asked yet"
        busy = [driver for driver in context.drivers if not _at_rest(states[driver.step.name])]
        if any(_kept(state) for state in states.values()):
            active = context.state.active_region
            return f"it is back, and kept from becoming a primary beside {active} until its agent makes it a standby"
        if not busy:
            self._tell(context, "RegionRejoined", f"{region} is a standby again")
            return None
        return await self._demote(context, region, busy)

    async def _demote(self, context: Context, region: str, busy: Sequence[PromotionDriver]) -> str:
        try:
            found = [await driver.divergence(region, context.state.active_region) for driver in busy]
            diverged = "; ".join(filter(None, found))
            permission = f"{region}@{context.state.epoch}"
            if diverged and annotations_of(context.policy).get(REJOIN_ANNOTATION) != permission:
                say = f'annotate the policy with {REJOIN_ANNOTATION}="{permission}" to drop these writes'
                message = f"{diverged}. Save what you need, then {say}"
                if not _shown(context.policy, region, message):
                    self._tell(context, "RegionDiverged", f"{region}: {message}")
                return message
            self._leadership.check()
            for place, driver in enumerate(reversed(busy)):
                fence = Fence(context.state.epoch, self._leadership.transitions, SEQUENCE + place)
                active = context.state.active_region
                await driver.demote(region, successor=active, fence=fence, run=_text(context))
        except PromotionProblemError as error:
            message = f"{STUCK}{error}"
            if not _shown(context.policy, region, message):
                self._tell(context, error.reason, f"{region}: {message}")
            return message
        except (ClusterError, FencedOffError) as error:
            return f"cannot be demoted yet: {error}"
        return f"{', '.join(driver.step.name for driver in busy)} told to stand by"

    async def _write(self, context: Context, rows: list[dict[str, Any]]) -> None:
        spec, epoch = context.spec, context.state.epoch

        def change(obj: Object) -> dict[str, Any]:
            status = copy.deepcopy(dict(status_of(obj)))
            if status.get("epoch") == epoch:  # a run that committed in between knows better
                status["rejoin"] = rows
                if not rows:
                    status.pop("rejoin", None)
            return status

        await self._status.transact(FAILOVER_POLICIES, spec.namespace, spec.name, change, uid=spec.uid)

    def _tell(self, context: Context, reason: str, note: str) -> None:
        kind = "Normal" if reason == "RegionRejoined" else "Warning"
        self._recorder.event(context.policy, kind=kind, reason=reason, action="RejoinRegion", note=note)
        log.info("%s", note, extra={"object": context.spec.key, "reason": reason})


def _at_rest(state: RoleState | None) -> bool:
    return state is not None and state.role in PASSIVE and not state.held


def _kept(state: RoleState | None) -> bool:
    """Whether it would be active by its own configuration, and is not."""
    return state is not None and state.role is Role.CHANGING and state.wanted is Role.ACTIVE


def _needs_person(message: str) -> bool:
    return REJOIN_ANNOTATION in message or message.startswith(STUCK)


def _shown(policy: Mapping[str, Any], region: str, message: str) -> bool:
    rows = status_of(policy).get("rejoin") or ()
    return any(row.get("region") == region and row.get("message") == message[:1024] for row in rows)


def _text(context: Context) -> str:
    """The run text of a rejoin: the epoch makes it the same for every try, and another for every run."""
    return f"{context.spec.namespace}/{context.spec.name}-rejoin/{context.spec.uid}-{context.state.epoch}"
