"""How a policy wants its runs done: the models of transition, promotion, hooks and safety to domain values."""

from __future__ import annotations

from regent.api.v1alpha1.common import SecretRef
from regent.api.v1alpha1.failoverpolicy import FailoverPolicySpec
from regent.api.v1alpha1.failoverpolicy_promotion import STEP_FIELDS
from regent.api.v1alpha1.failoverpolicy_promotion import PromotionStep as StepModel
from regent.api.v1alpha1.failoverpolicy_safety import Transition as TransitionModel
from regent.api.v1alpha1.failoverpolicy_safety import TransitionOverride
from regent.domain.duration import parse_duration
from regent.domain.failover import options
from regent.domain.failover.options import Fencing, RunOptions, StepKind, Transition, TransitionType


def run_options(spec: FailoverPolicySpec) -> RunOptions:
    """Return what the policy's spec says about how a run is done."""
    steps = tuple(map(_step, spec.promotion.steps)) if spec.promotion is not None else ()
    data = any(step.holds_data for step in steps)
    return RunOptions(
        transition=transition(spec.transition),
        max_attempts=spec.cascade.max_attempts,
        fencing=Fencing(spec.safety.fencing or ("Required" if data else "BestEffort")),
        on_failure=options.OnFailure(spec.rollback),
        promotion=steps,
        service_account=spec.service_account_name,
        approval=options.Approval(spec.safety.approval),
        approval_timeout=parse_duration(spec.safety.approval_timeout),
        max_replication_lag=parse_duration(spec.safety.max_replication_lag),
        replication=tuple(
            options.ReplicationRef(name=ref.name, required=(ref.gate or ("Required" if steps else "")) == "Required")
            for ref in spec.replication_policy_refs
        ),
        hooks=_hooks(spec),
        notifications=tuple(
            options.Notification(
                receiver=receiver(str(item.url), item.secret_ref), events=tuple(str(event) for event in item.events)
            )
            for item in spec.notifications
        ),
        drills=options.Drills(schedule=spec.drills.schedule, time_zone=spec.drills.time_zone)
        if spec.drills is not None and spec.drills.schedule
        else None,
    )


def transition(model: TransitionModel | TransitionOverride) -> Transition:
    """Return how traffic moves; the stages count for Gradual only."""
    gradual = model.type == "Gradual"
    return Transition(
        type=TransitionType(model.type),
        drain=parse_duration(model.drain),
        stages=tuple(options.Stage(percent=stage.percent, hold=parse_duration(stage.hold)) for stage in model.steps)
        if gradual
        else (),
    )


def receiver(url: str, secret: SecretRef | None) -> options.HttpReceiver:
    """Return an endpoint of the user's; `secretRef: {}` means "not signed"."""
    return options.HttpReceiver(url=url, secret=secret.name if secret is not None else "")


def _step(model: StepModel) -> options.PromotionStep:
    member = STEP_FIELDS[model.type]
    settings = model.model_dump(mode="json", by_alias=True, exclude_none=True)[member]
    return options.PromotionStep(
        name=model.name, kind=StepKind(model.type), timeout=parse_duration(model.timeout), settings=settings
    )


def _hooks(spec: FailoverPolicySpec) -> tuple[options.Hook, ...]:
    if spec.hooks is None:
        return ()
    return tuple(
        options.Hook(
            name=hook.name,
            receiver=receiver(str(hook.http.url), hook.http.secret_ref),
            timeout=parse_duration(hook.timeout),
            veto=hook.on_error == "Abort",
        )
        for hook in spec.hooks.before_failover
    )
