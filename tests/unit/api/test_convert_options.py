"""Everything that a policy says about how a run is done arrives in the domain, with the documented defaults."""

from typing import Any

import pytest

from regent.api.v1alpha1.convert_failover import run_spec
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import (
    Approval,
    BlueGreen,
    Drills,
    Fencing,
    Hook,
    HttpReceiver,
    MaxShift,
    Notification,
    OnFailure,
    Preemption,
    PromotionStep,
    ReplicationRef,
    RunOptions,
    Stage,
    StepKind,
    TrafficOverride,
    Transition,
    TransitionType,
    Window,
)

SCALE = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "shop", "replicas": 6}}
PATRONI = {
    "name": "db",
    "type": "Patroni",
    "timeout": "45s",
    "patroni": {"clusters": [{"region": "eu", "url": "https://db.example.com", "host": "", "primarySlotName": ""}]},
}


def converted(**spec: Any) -> PolicySpec:
    regions = [{"name": "eu"}, {"name": "us"}]
    obj = {"metadata": {"namespace": "shop", "name": "shop"}, "spec": {"regions": regions, **spec}}
    return policy_spec(obj)[0]


def test_defaults() -> None:
    assert converted().options == RunOptions()


@pytest.mark.parametrize(
    ("steps", "fencing"),
    [([], Fencing.BEST_EFFORT), ([SCALE], Fencing.BEST_EFFORT), ([SCALE, PATRONI], Fencing.REQUIRED)],
)
def test_fencing_is_required_where_a_step_holds_data(steps: list[Any], fencing: Fencing) -> None:
    assert converted(promotion={"steps": steps}).options.fencing is fencing
    assert converted(promotion={"steps": steps}, safety={"fencing": "None"}).options.fencing is Fencing.NONE


def test_promotion_steps_carry_the_settings_of_their_kind_as_the_api_serves_them() -> None:
    steps = converted(promotion={"steps": [PATRONI, SCALE]}).options.promotion
    assert steps == (
        PromotionStep(name="db", kind=StepKind.PATRONI, timeout=45, settings=PATRONI["patroni"]),  # type: ignore[arg-type]
        PromotionStep(name="web", kind=StepKind.SCALE, timeout=30, settings=SCALE["scale"]),  # type: ignore[arg-type]
    )
    assert [step.holds_data for step in steps] == [True, False]


def test_every_option_arrives() -> None:
    options = converted(
        transition={"type": "Gradual", "steps": [{"percent": 10, "hold": "30s"}, {"percent": 50, "hold": "1m"}]},
        cascade={"maxAttempts": 2},
        safety={"approval": "WhenDataLoss", "approvalTimeout": "10m", "maxReplicationLag": "5s"},
        rollback="Pause",
        serviceAccountName="mover",
        replicationPolicyRefs=[{"name": "one"}, {"name": "two", "gate": "Required"}],
        hooks={
            "beforeFailover": [
                {
                    "name": "ask",
                    "http": {"url": "https://h.example.com", "secretRef": {"name": "k"}},
                    "onError": "Abort",
                }
            ]
        },
        notifications=[{"url": "https://n.example.com", "secretRef": {}, "events": ["Blocked"]}],
        drills={"schedule": "0 3 * * 1", "timeZone": "Europe/Dublin"},
    ).options
    assert options == RunOptions(
        transition=Transition(
            type=TransitionType.GRADUAL, stages=(Stage(percent=10, hold=30), Stage(percent=50, hold=60))
        ),
        max_attempts=2,
        on_failure=OnFailure.PAUSE,
        service_account="mover",
        approval=Approval.WHEN_DATA_LOSS,
        approval_timeout=600,
        max_replication_lag=5,
        replication=(ReplicationRef(name="one", required=False), ReplicationRef(name="two", required=True)),
        hooks=(Hook(name="ask", receiver=HttpReceiver(url="https://h.example.com", secret="k"), veto=True),),
        notifications=(Notification(receiver=HttpReceiver(url="https://n.example.com"), events=("Blocked",)),),
        drills=Drills(schedule="0 3 * * 1", time_zone="Europe/Dublin"),
    )


def test_replication_gates_are_required_by_default_when_something_is_promoted() -> None:
    refs = converted(promotion={"steps": [SCALE]}, replicationPolicyRefs=[{"name": "one"}]).options.replication
    assert refs == (ReplicationRef(name="one", required=True),)


def test_rules_with_a_clock_and_groups_arrive() -> None:
    spec = converted(
        topology="BlueGreen",
        blueGreen={"blue": ["eu"], "green": ["us"], "desired": "Green", "switchAfter": "5s"},
        safety={
            "maxShift": {"percent": 20, "per": "2m"},
            "windows": [{"start": "0 2 * * 6", "duration": "2h", "timeZone": "Europe/Dublin", "allow": ["Drill"]}],
        },
        trafficOverride={
            "distribution": [{"region": "eu", "weightPercent": 30}, {"region": "us", "weightPercent": 70}],
            "expirationTime": "1970-01-01T00:01:00Z",
        },
    )
    assert spec.blue_green == BlueGreen(blue=("eu",), green=("us",), desired="Green", switch_after=5)
    assert spec.safety.max_shift == MaxShift(percent=20, per=120)
    assert spec.safety.windows == (
        Window(start="0 2 * * 6", duration=7200, time_zone="Europe/Dublin", allow=("Drill",)),
    )
    assert spec.traffic_override == TrafficOverride(distribution={"eu": 30, "us": 70}, expiration_time=60)
    assert converted(topology="LeaderElection", preemption="AfterStabilization").preemption is (
        Preemption.AFTER_STABILIZATION
    )


def test_a_run_says_what_was_approved_and_how_it_moves() -> None:
    spec = {
        "policyRef": {"name": "shop"},
        "from": "eu",
        "transition": {"type": "Graceful", "drain": "5s"},
        "control": {"approvedPlan": "sha256:1", "acceptDataLoss": True},
    }
    run = run_spec({"metadata": {"namespace": "shop", "name": "go"}, "spec": spec})
    assert (run.approved_plan, run.accept_data_loss) == ("sha256:1", True)
    assert run.transition == Transition(type=TransitionType.GRACEFUL, drain=5)
