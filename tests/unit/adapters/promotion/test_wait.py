"""`kubectl wait --for` in a policy: what is met, what is not yet, what is not understood."""

from __future__ import annotations

import re
from typing import Any

import pytest

from regent.adapters.promotion.wait import parse_wait
from regent.api.v1alpha1 import cel
from regent.domain.errors import PromotionProblemError

OBJECT: dict[str, Any] = {
    "metadata": {"generation": 4, "annotations": {"example.com/role": "primary"}},
    "spec": {"replicas": 3, "paused": False},
    "status": {
        "phase": "Running",
        "share": 0.5,
        "members": [{"name": "a", "state": {"ready": True}}, {"name": "b", "state": {"ready": False}}],
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "Synced", "status": "False", "observedGeneration": 4},
            {"type": "Stale", "status": "True", "observedGeneration": 3},
        ],
    },
}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("condition=Ready", True),
        ("condition=ready", True),
        ("condition=Ready=true", True),
        ("condition=Ready=False", False),
        ("condition=Synced=False", True),
        ("condition=Synced", False),
        ("condition=Stale", False),
        ("condition=Missing", False),
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath={$.status.phase}=Running", True),
        ("jsonpath={.status.phase}='Running'", True),
        ("jsonpath={.status.phase}=running", False),
        ("jsonpath={.status.phase}", True),
        ("jsonpath={.status.other}", False),
        ("jsonpath={.status.other}=x", False),
        ("jsonpath={.spec.replicas}=3", True),
        ("jsonpath={.spec.paused}=false", True),
        ("jsonpath={.status.share}=0.5", True),
        (r"jsonpath={.metadata.annotations.example\.com/role}=primary", True),
        ("jsonpath={.metadata.annotations['example.com/role']}=primary", True),
        ('jsonpath={.metadata.annotations["example.com/role"]}=primary', True),
        ("jsonpath={.status.members[0].name}=a", True),
        ("jsonpath={.status.members[-1].name}=b", True),
        ("jsonpath={.status.members[7].name}=b", False),
        ('jsonpath={.status.members[?(@.name=="b")].state.ready}=false', True),
        ("jsonpath={.status.members[?(@.name=='b')].state.ready}=true", False),
        ("jsonpath={.status.members[?(@.state.ready==true)].name}=a", True),
        ('jsonpath={.status.members[?(@.name!="a")].name}=b', True),
        ('jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', True),
    ],
)
def test_what_is_met(text: str, met: bool) -> None:
    assert re.match(cel.WAIT_FOR, text), "refused at admission"
    wait = parse_wait(text)
    assert wait is not None
    assert wait.met(OBJECT) is met
    assert str(wait)


def test_a_condition_without_a_generation_of_its_own_goes_by_that_of_the_status() -> None:
    wait = parse_wait("condition=Ready")
    assert wait is not None
    for observed, met in ((3, False), (4, True)):
        assert wait.met({**OBJECT, "status": {**OBJECT["status"], "observedGeneration": observed}}) is met


@pytest.mark.parametrize(
    "text",
    [
        "ready",
        "condition",
        "jsonpath={.a",
        "jsonpath={.a}x",
        "jsonpath={.status.members[*].name}=a",
        "jsonpath={..name}=a",
        "jsonpath={.status.members[0:1]}",
        "jsonpath={.a b}=c",
    ],
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(PromotionProblemError, match="waitFor") as caught:
        parse_wait(text)
    assert caught.value.reason == "WaitForInvalid"


@pytest.mark.parametrize("path", ["{.status.members}", "{.status.members[0].state}"])
def test_objects_are_not_compared(path: str) -> None:
    wait = parse_wait(f"jsonpath={path}=x")
    assert wait is not None
    with pytest.raises(PromotionProblemError, match="an object or a list"):
        wait.met(OBJECT)


def test_several_values_are_not_compared() -> None:
    wait = parse_wait('jsonpath={.status.members[?(@.name!="c")].name}=a')
    assert wait is not None
    with pytest.raises(PromotionProblemError, match="more than one value"):
        wait.met(OBJECT)


def test_nothing_to_wait_for() -> None:
    assert parse_wait("") is None
