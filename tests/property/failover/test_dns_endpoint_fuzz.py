"""Whatever a DNSEndpoint contains, only the endpoints of the policy's host name and record type change."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.dns import DnsMode, DnsRecords
from regent.domain.traffic.targets import DNS_ENDPOINT, TargetSpec
from regent.engine.resources import DNS_ENDPOINTS
from regent.engine.store import Store
from tests.fakes.cluster import FakeCluster
from tests.fakes.targets import make_targets

ADDRESSES = {"eu": ("192.0.2.1",), "us": ("192.0.2.2", "192.0.2.3"), "ap": ("192.0.2.4",)}
HOST = "shop.example.com"

endpoints = st.fixed_dictionaries(
    {},
    optional={
        "dnsName": st.sampled_from([HOST, "SHOP.example.com.", "other.example.com", ""]),
        "recordType": st.sampled_from(["A", "AAAA", "TXT"]),
        "targets": st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.9"]), max_size=3),
        "recordTTL": st.sampled_from([5, 60]),
        "setIdentifier": st.sampled_from(["r-eu", "r-us", "theirs"]),
        "labels": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        "providerSpecific": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["aws/weight", "x/y"]), "value": st.just("7")}),
            max_size=2,
        ),
        "x-new": st.integers(),
    },
)
distributions = st.sampled_from(
    [dict(zip(ADDRESSES, parts, strict=True)) for parts in ((100, 0, 0), (0, 100, 0), (34, 33, 33), (1, 99, 0))]
)


def ours(endpoint: dict[str, Any]) -> bool:
    return endpoint.get("dnsName", "").lower().rstrip(".") == HOST and endpoint.get("recordType") == "A"


def records(mode: DnsMode) -> DnsRecords:
    return DnsRecords(
        hostname=HOST,
        record_type="A",
        ttl=5,
        addresses=ADDRESSES,
        mode=mode,
        identifier_prefix="r-",
        weight_property="aws/weight",
    )


@settings(max_examples=150, deadline=None)
@given(found=st.lists(endpoints, max_size=6), distribution=distributions, mode=st.sampled_from(DnsMode))
async def test_only_our_records_change(found: list[Any], distribution: dict[str, int], mode: DnsMode) -> None:
    cluster, store = FakeCluster(), Store()
    cluster.feed(store)
    before = cluster.put(
        DNS_ENDPOINTS, {"metadata": {"namespace": "n", "name": "d"}, "spec": {"endpoints": found, "x": 1}}
    )
    policy = PolicySpec(namespace="n", name="p", uid="u", regions=tuple(PolicyRegion(name=name) for name in ADDRESSES))
    [target] = make_targets(cluster, store).targets(
        policy, [TargetSpec(kind=DNS_ENDPOINT, name="d", dns=records(mode))]
    )
    await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    after = await cluster.get(DNS_ENDPOINTS, "n", "d")
    new = after["spec"]["endpoints"]
    assert [item for item in new if not ours(item)] == [item for item in found if not ours(item)]
    assert {k: v for k, v in after["spec"].items() if k != "endpoints"} == {"x": 1}
    written = [item for item in new if ours(item)]
    carrying = [name for name, share in distribution.items() if share > 0]
    if mode is DnsMode.EXCLUSIVE:
        [only] = written
        assert sorted(only["targets"]) == sorted(address for name in carrying for address in ADDRESSES[name])
    else:
        weights = {
            item["setIdentifier"]: [p["value"] for p in item["providerSpecific"] if p["name"] == "aws/weight"]
            for item in written
        }
        assert weights == {f"r-{name}": [str(share)] for name, share in distribution.items()}
        assert {item["setIdentifier"]: tuple(item["targets"]) for item in written} == {
            f"r-{name}": addresses for name, addresses in ADDRESSES.items()
        }
    assert {item["recordTTL"] for item in written} == {5}
    first = next((index for index, item in enumerate(found) if ours(item)), len(found))
    assert new[:first] == before["spec"]["endpoints"][:first], "what stands before ours stays there"
    writes = len(cluster.writes)
    state = await target.apply(distribution, fence=Fence(3, 1, 12), owner="n/p/u")
    assert state.aligned
    assert len(cluster.writes) == writes, "applying twice writes once"
    carried = {name for name, share in state.shares.items() if share > 0}
    assert carried == set(carrying)
