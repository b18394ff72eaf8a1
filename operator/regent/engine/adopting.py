"""Carries an adoption out: gathers the evidence, asks the domain, writes what is active from now on."""

from __future__ import annotations

import copy
import logging
from typing import Any

from regent.domain.conditions import Condition
from regent.domain.failover.adoption import ANNOTATION, Adopted, Evidence, Unsettled, adopt
from regent.engine.policy_writes import active_fields
from regent.engine.ports import Clock, Object, Recorder
from regent.engine.records import annotations_of, policy_state, status_of
from regent.engine.region_epochs import RegionEpochs
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.run_context import Context
from regent.engine.status import StatusWriter
from regent.engine.traffic import TargetState

log = logging.getLogger("regent.policies")


class Adopting:
    """Settles what is active for policies whose status does not say."""

    def __init__(
        self, *, status: StatusWriter, clock: Clock, recorder: Recorder, epochs: RegionEpochs | None = None
    ) -> None:
        self._status = status
        self._clock = clock
        self._recorder = recorder
        self._epochs = epochs

    async def adopt(self, context: Context) -> Condition | None:
        """Write the adoption and return None, or return the condition Ready that says what it waits for."""
        if context.snapshot.in_grace:
            return Condition("Ready", "Unknown", "StartupGrace", "Regent has just started; probes come first")
        states = [await target.observe({}) for target in context.targets]
        # What a region that is down would have said is not waited for when another target can be read: a status that
        # was lost during an outage must not keep the policy from acting in it.
        readable = [state for state in states if state.problem != "TargetUnreachable"]
        states = readable or states
        broken = next((state for state in states if state.problem), None)
        if broken is not None:
            return Condition("Ready", "False", broken.problem, broken.message)
        found = adopt(context.snapshot, self._evidence(context, states, await self._seen_in_regions(context)))
        if isinstance(found, Unsettled):
            status = "False" if found.reason == "AdoptionAmbiguous" else "Unknown"
            return Condition("Ready", status, found.reason, found.message)
        await self._write(context, found)
        return None

    async def _seen_in_regions(self, context: Context) -> int:
        """The highest epoch that the regions have kept. Only runs that promote something leave one there."""
        if self._epochs is None or not context.spec.options.promotion:
            return 0
        found = await self._epochs.highest(context.spec)
        if found.silent:
            log.warning("Adopted without %s", ", ".join(found.silent), extra={"object": context.spec.key})
        return found.highest.epoch if found.highest is not None else 0

    def _evidence(self, context: Context, states: list[TargetState], in_regions: int) -> Evidence:
        committed = [run for run in context.runs if status_of(run).get("epoch")]
        last = max(committed, key=lambda run: int(status_of(run)["epoch"]), default=None)
        epochs = [in_regions, *(int(status_of(run)["epoch"]) for run in committed)]
        epochs += [state.fence.epoch for state in states if state.fence is not None]
        return Evidence(
            # What has no shares yet (an empty DNSEndpoint) or never (a webhook) says nothing about the past.
            target_shares={state.ref: state.shares for state in states if state.shares},
            last_run_to=str((status_of(last).get("plan") or {}).get("chosen") or "") if last else "",
            highest_epoch=max(epochs, default=0),
            answer=annotations_of(context.policy).get(ANNOTATION, ""),
        )

    async def _write(self, context: Context, found: Adopted) -> None:
        spec = context.spec

        def change(obj: Object) -> dict[str, Any]:
            status = copy.deepcopy(dict(status_of(obj)))
            if policy_state(obj).adopted:
                return status  # another visit was faster; what it wrote stands
            status["epoch"] = found.epoch
            status.update(active_fields(spec, found.active_region, found.distribution))
            return status

        await self._status.transact(FAILOVER_POLICIES, spec.namespace, spec.name, change, uid=spec.uid)
        self._recorder.event(context.policy, kind="Normal", reason="Adopted", action="AdoptPolicy", note=found.message)
