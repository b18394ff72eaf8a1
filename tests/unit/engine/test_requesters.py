"""Who made a run: an annotation counts only where an admission policy has kept others from writing it."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.times import rfc3339
from regent.engine.ports import Object
from regent.engine.requesters import APPROVED_BY, REQUESTED_BY, TAKES_EFFECT, Requesters
from regent.engine.resources import VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
from tests.fakes.cluster import FakeCluster

NAME = "regent-requester"
SINCE = 1_800_000_000.0
NARROW = {"namespaceSelector": {"matchLabels": {"a": "b"}}}


def policy(*, made: float = SINCE, **spec: Any) -> Object:
    metadata = {"name": NAME, "creationTimestamp": rfc3339(made)}
    kind = {"apiVersion": VALIDATING_ADMISSION_POLICIES.api_version, "kind": VALIDATING_ADMISSION_POLICIES.kind}
    return {**kind, "metadata": metadata, "spec": {"failurePolicy": "Fail", **spec}}


def binding(*, made: float = SINCE, **spec: Any) -> Object:
    metadata = {"name": NAME, "creationTimestamp": rfc3339(made)}
    resource = VALIDATING_ADMISSION_POLICY_BINDINGS
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": {"policyName": NAME, "validationActions": ["Deny"], **spec},
    }


def cluster(*objects: Object) -> FakeCluster:
    found = FakeCluster()
    for obj in objects:
        resource = (
            VALIDATING_ADMISSION_POLICIES
            if obj["kind"] == VALIDATING_ADMISSION_POLICIES.kind
            else VALIDATING_ADMISSION_POLICY_BINDINGS
        )
        found.put(resource, obj)
    return found


def run(*, after: float = TAKES_EFFECT, labels: dict[str, str] | None = None, **annotations: str) -> Object:
    names = {"requested": REQUESTED_BY, "approved": APPROVED_BY}
    return {
        "metadata": {
            "name": "shop-1",
            "namespace": "shop",
            "uid": "1",
            "creationTimestamp": rfc3339(SINCE + after),
            "labels": labels or {},
            "annotations": {names[name]: value for name, value in annotations.items()},
        }
    }


async def test_the_stamped_name() -> None:
    requesters = Requesters(cluster=cluster(policy(), binding()), policy=NAME)
    assert await requesters.of(run(requested="ann")) == "ann"
    assert await requesters.approver(run(requested="ann", approved="bob")) == "bob"


async def test_a_run_of_regent_itself_is_not_looked_up() -> None:
    found = cluster()
    automatic = run(labels={"regent.dev/managed-by": "regent"}, requested="ann")
    assert await Requesters(cluster=found, policy=NAME).of(automatic) == "regent"
    assert found.calls == []


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([], id="no policy"),
        pytest.param([policy()], id="not bound"),
        pytest.param([binding()], id="a binding of nothing"),
        pytest.param([policy(made=SINCE + 1), binding()], id="made after the run"),
        pytest.param([policy(), binding(made=SINCE + 1)], id="bound after the run"),
        pytest.param([policy(failurePolicy="Ignore"), binding()], id="ignores its failures"),
        pytest.param([policy(), binding(validationActions=["Audit"])], id="does not deny"),
        pytest.param([policy(), binding(policyName="other")], id="binds another"),
        pytest.param(
            [policy(), binding(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}})], id="narrowed"
        ),
    ],
)
async def test_an_annotation_that_nobody_kept_others_from_writing(objects: list[Object]) -> None:
    requesters = Requesters(cluster=cluster(*objects), policy=NAME)
    assert await requesters.of(run(requested="ann")) == "unknown"
    assert await requesters.approver(run(approved="ann")) == ""


async def test_no_annotation_and_no_setting() -> None:
    assert await Requesters(cluster=cluster(policy(), binding()), policy=NAME).of(run()) == "unknown"
    unset = cluster(policy(), binding())
    assert await Requesters(cluster=unset, policy="").of(run(requested="ann")) == "unknown"
    assert unset.calls == []


async def test_a_long_name_is_cut_to_what_the_status_holds() -> None:
    requesters = Requesters(cluster=cluster(policy(), binding()), policy=NAME)
    assert await requesters.of(run(requested="a" * 300)) == "a" * 253


async def test_an_api_server_that_is_away_is_not_a_no() -> None:
    found = cluster(policy(), binding())
    found.fail("get", UnavailableError("away"))
    with pytest.raises(UnavailableError):
        await Requesters(cluster=found, policy=NAME).of(run(requested="ann"))
