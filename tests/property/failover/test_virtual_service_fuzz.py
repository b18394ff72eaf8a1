"""Whatever a VirtualService contains, only the weights of regions' destinations and Regent's annotations change."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regent.domain.errors import TargetProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.targets import VIRTUAL_SERVICE, TargetSpec, destination_key
from regent.engine.resources import VIRTUAL_SERVICES
from regent.engine.store import Store
from tests.fakes.cluster import FakeCluster
from tests.fakes.targets import make_targets

REGIONS = ("eu", "us", "ap")
OURS = {"regent.dev/fence", "regent.dev/policy", "regent.dev/backend-ratios"}
MAPPING = {destination_key(f"shop-{name}", subset): name for name in REGIONS for subset in ("", "v2")}
PROTOCOLS = ("http", "tls", "tcp")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """A rule as Istio accepts it: percentages that add up to 100, a sole destination with or without its weight."""
    extra = draw(st.dictionaries(st.sampled_from(["match", "timeout", "mirror", "retries"]), json_values, max_size=2))
    if draw(st.integers(0, 7)) == 0:
        return {**extra, "redirect": {"uri": "/elsewhere"}}
    names = draw(st.lists(st.sampled_from([*REGIONS, "canary"]), min_size=1, max_size=5))
    routes: list[dict[str, Any]] = []
    left = 100
    for number, name in enumerate(names):
        destination: dict[str, Any] = {"host": f"shop-{name}"}
        if draw(st.booleans()):
            destination["subset"] = "v2"
        if draw(st.booleans()):
            destination["port"] = {"number": 80}
        route: dict[str, Any] = {
            "destination": destination,
            **draw(st.dictionaries(st.just("headers"), json_values, max_size=1)),
        }
        weight = left if number == len(names) - 1 else draw(st.integers(0, left))
        left -= weight
        if not (len(names) == 1 and draw(st.booleans())) and not (weight == 0 and draw(st.booleans())):
            route["weight"] = weight
        routes.append(route)
    return {**extra, "route": routes}


specs = st.fixed_dictionaries(
    {"hosts": st.just(["shop.example.com"])},
    optional={name: st.lists(rules(), max_size=4) for name in PROTOCOLS} | {"exportTo": json_values},
)
distributions = st.sampled_from(
    [dict(zip(REGIONS, parts, strict=True)) for parts in ((100, 0, 0), (0, 100, 0), (34, 33, 33), (1, 99, 0))]
)


def region_of(route: dict[str, Any]) -> str | None:
    destination = route["destination"]
    return MAPPING.get(destination_key(destination["host"], destination.get("subset", "")))


def weight_of(route: dict[str, Any], routes: list[Any]) -> int:
    return int(route.get("weight", 100 if len(routes) == 1 else 0))


def all_rules(obj: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [rule.get("route", []) for name in PROTOCOLS for rule in obj["spec"].get(name, [])]


def mask(obj: dict[str, Any]) -> dict[str, Any]:
    masked = copy.deepcopy(obj)
    for field in ("resourceVersion", "generation"):
        masked["metadata"].pop(field, None)
    kept = {k: v for k, v in masked["metadata"].pop("annotations", {}).items() if k not in OURS}
    masked["metadata"]["annotations"] = kept
    for routes in all_rules(masked):
        for route in routes:
            if region_of(route):
                route.pop("weight", None)
    return masked


@settings(max_examples=80, deadline=None)
@given(spec=specs, distribution=distributions)
async def test_only_weights_change_and_rules_still_add_up(spec: dict[str, Any], distribution: dict[str, int]) -> None:
    cluster, store = FakeCluster(), Store()
    cluster.feed(store)
    before = cluster.put(VIRTUAL_SERVICES, {"metadata": {"namespace": "n", "name": "v"}, "spec": spec})
    present = {key: region for key, region in MAPPING.items() if key in mentioned(before)}
    regions = tuple(PolicyRegion(name=name) for name in REGIONS if name in present.values())
    policy = PolicySpec(namespace="n", name="p", uid="u", regions=regions)
    target_spec = TargetSpec(kind=VIRTUAL_SERVICE, name="v", regions_by_service=present)
    [target] = make_targets(cluster, store).targets(policy, [target_spec])
    try:
        await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    except TargetProblemError as error:
        assert error.reason == "RuleNotCovered"
        assert cluster.writes == []
        return
    after = await cluster.get(VIRTUAL_SERVICES, "n", "v")
    assert mask(after) == mask(before)
    for old, new in zip(all_rules(before), all_rules(after), strict=True):
        check_rule(old, new, distribution)
    writes = len(cluster.writes)
    state = await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    assert state.aligned
    assert len(cluster.writes) == writes, "applying twice writes once"


def mentioned(obj: dict[str, Any]) -> set[str]:
    return {
        destination_key(route["destination"]["host"], route["destination"].get("subset", ""))
        for routes in all_rules(obj)
        for route in routes
    }


def check_rule(old: list[Any], new: list[Any], distribution: dict[str, int]) -> None:
    if not new:
        return
    assert sum(weight_of(route, new) for route in new) == 100, "percentages add up"
    present = {region_of(route) for route in new} - {None}
    taken = sum(weight_of(route, old) for route in old if not region_of(route)) == 100
    if taken or not any(distribution[str(name)] > 0 for name in present):
        assert old == new, "what cannot be covered stays as it is"
        return
    budget = 100 - sum(weight_of(route, old) for route in old if not region_of(route))
    sums = {name: sum(weight_of(r, new) for r in new if region_of(r) == name) for name in present}
    for name in present:
        if distribution[str(name)] == 0:
            assert sums[name] == 0, "a region without a share gets nothing"
        elif budget >= 2 * len(new):
            assert sums[name] > 0, "a region with a share is never rounded away"
