"""Whatever a route contains, only the weights of regions' backends and Regent's own annotations change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regent.domain.errors import TargetProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.targets import TargetSpec
from regent.engine.resources import HTTP_ROUTES, SERVICES
from regent.engine.store import Store
from tests.fakes.cluster import FakeCluster
from tests.fakes.targets import make_targets

REGIONS = ("eu", "us", "ap")
OURS = {"regent.dev/fence", "regent.dev/policy", "regent.dev/backend-ratios"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(st.sampled_from(["x-new", "filters", "port", "timeouts", "сервис"]), json_values, max_size=3)


@st.composite
def references(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["mapped", "mapped", "mapped", "free", "foreign"]))
    reference: dict[str, Any] = {**draw(unknown)}
    if kind == "mapped":
        reference["name"] = f"{draw(st.sampled_from(REGIONS))}-{draw(st.integers(0, 2))}"
    elif kind == "free":
        reference["name"] = "canary"
    else:
        reference |= {"name": "eu-0", "kind": "Bucket", "group": "storage.example.com"}
    if draw(st.booleans()):
        reference["weight"] = draw(st.integers(0, 1_000_000))
    return reference


rules = st.lists(
    st.builds(
        lambda extra, refs: {**extra, "backendRefs": refs},
        st.dictionaries(st.sampled_from(["matches", "name", "sessionPersistence"]), json_values, max_size=3),
        st.lists(references(), max_size=16),
    ),
    max_size=6,
)
distributions = st.sampled_from(
    [dict(zip(REGIONS, parts, strict=True)) for parts in ((100, 0, 0), (0, 100, 0), (34, 33, 33), (1, 99, 0))]
)


def mask(route: dict[str, Any]) -> dict[str, Any]:
    """The route without what Regent may change."""
    masked = copy.deepcopy(route)
    for field in ("resourceVersion", "generation"):
        masked["metadata"].pop(field, None)
    kept = {k: v for k, v in masked["metadata"].pop("annotations", {}).items() if k not in OURS}
    masked["metadata"]["annotations"] = kept
    for rule in masked["spec"]["rules"]:
        for reference in rule["backendRefs"]:
            if reference["name"] != "canary" and reference.get("kind", "Service") == "Service":
                reference.pop("weight", None)
    return masked


SUM_ABOVE_A_WEIGHT = [
    {
        "backendRefs": [
            {"name": "ap-0"},
            {"name": "eu-0", "weight": 999_999},
            {"name": "us-0", "weight": 1},
            {"name": "canary"},
        ]
    }
]


@pytest.mark.timeout(300)
@example(rules=SUM_ABOVE_A_WEIGHT, distribution={"eu": 100, "us": 0, "ap": 0}, annotations={})
@settings(max_examples=100, deadline=None)
@given(rules=rules, distribution=distributions, annotations=st.dictionaries(st.text(min_size=1, max_size=6), st.text()))
async def test_only_weights_change(rules: list[Any], distribution: dict[str, int], annotations: dict[str, str]) -> None:
    cluster, store = FakeCluster(), Store()
    cluster.feed(store)
    for region in REGIONS:
        for number in range(3):
            metadata = {"namespace": "n", "name": f"{region}-{number}", "labels": {"regent.dev/region": region}}
            cluster.put(SERVICES, {"metadata": metadata})
    before = cluster.put(
        HTTP_ROUTES,
        {"metadata": {"namespace": "n", "name": "r", "annotations": annotations}, "spec": {"x": 1, "rules": rules}},
    )
    policy = PolicySpec(namespace="n", name="p", uid="u", regions=tuple(PolicyRegion(name=name) for name in REGIONS))
    targets = make_targets(cluster, store)
    [target] = targets.targets(policy, [TargetSpec(kind="HTTPRoute", name="r")])
    try:
        await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    except TargetProblemError as error:
        assert error.reason in ("MappingIncomplete", "RuleNotCovered")
        assert cluster.writes == []
        return
    after = await cluster.get(HTTP_ROUTES, "n", "r")
    assert mask(after) == mask(before)
    for old, new in zip(before["spec"]["rules"], after["spec"]["rules"], strict=True):
        check_rule(old["backendRefs"], new["backendRefs"], distribution)
    writes = len(cluster.writes)
    state = await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    assert state.aligned
    assert len(cluster.writes) == writes, "applying twice writes once"


def check_rule(old: list[Any], new: list[Any], distribution: dict[str, int]) -> None:
    sums = dict.fromkeys(REGIONS, 0)
    for reference in new:
        if reference["name"] != "canary" and reference.get("kind", "Service") == "Service":
            sums[reference["name"].split("-")[0]] += reference.get("weight", 1)
            assert 0 <= reference.get("weight", 1) <= 1_000_000
    present = {ref["name"].split("-")[0] for ref in new if ref["name"] != "canary" and "kind" not in ref}
    covered = any(distribution[name] > 0 for name in present)
    if not covered:
        assert old == new, "a rule that lacks every region with a share stays as it is"
        return
    assert sum(sums.values()) > 0, "never all zero"
    for name in present:
        assert (sums[name] > 0) == (distribution[name] > 0)
