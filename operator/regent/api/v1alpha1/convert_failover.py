"""Failover objects to domain values. The only module that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.api.v1alpha1.convert_options import transition
from regent.api.v1alpha1.failover import Failover
from regent.domain.failover.model import RunType
from regent.domain.failover.runspec import Desired, RunSpec


def run_spec(obj: Mapping[str, Any]) -> RunSpec:
    """Return what the Failover object asks for.

    Raises:
        pydantic.ValidationError: the object was never accepted by an API server with Regent's CRDs.
    """
    run = Failover.parse(dict(obj))
    spec = run.spec
    unsupported = []
    if spec.type == "Rebalance" and spec.to:
        unsupported.append("to with type: Rebalance")
    return RunSpec(
        namespace=run.metadata.namespace or "",
        name=run.metadata.name or "",
        uid=run.metadata.uid or "",
        policy=spec.policy_ref.name,
        type=RunType(spec.type),
        source=spec.from_,
        to=spec.to,
        dry_run=spec.dry_run,
        reason=spec.reason,
        schedule_time=spec.schedule_time.timestamp() if spec.schedule_time else None,
        desired=Desired(spec.control.desired),
        force=spec.control.force,
        approved_plan=spec.control.approved_plan,
        accept_data_loss=spec.control.accept_data_loss,
        transition=transition(spec.transition) if spec.transition is not None else None,
        unsupported=tuple(unsupported),
    )
