"""Traefik against a real API server: weights are honoured, and a dead region shows as it is known to show."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from testbed.controlplane import Cluster, start_cluster
from testbed.gateway import TraefikGateway, backends_of
from testbed.load import ClientLoop
from testbed.network import NetworkNamespaces
from testbed.regions import Regions

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
NAMES = ("eu", "us", "ap")


@pytest.fixture(scope="module")
def gateway_cluster() -> Iterator[Cluster]:
    with start_cluster(name="gateway") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def gateway_regions() -> Iterator[Regions]:
    with NetworkNamespaces() as network, Regions(NAMES, network=network) as regions:
        yield regions


@pytest.fixture(scope="module")
def gateway(gateway_cluster: Cluster, gateway_regions: Regions) -> Iterator[TraefikGateway]:
    with TraefikGateway(gateway_cluster) as gateway:
        gateway.publish("shop", backends_of(gateway_regions))
        yield gateway


@pytest.fixture
def fresh_gateway(gateway: TraefikGateway, gateway_regions: Regions) -> Iterator[TraefikGateway]:
    give(gateway, eu=100)
    yield gateway
    gateway_regions.heal()


def give(gateway: TraefikGateway, **shares: int) -> None:
    """Set the weights and wait until the proxy has them: only regions with a share answer, each of them did."""
    gateway.set_weights("shop", {name: shares.get(name, 0) for name in NAMES})
    deadline = time.monotonic() + 10.0
    while {gateway.fetch()[1] for _ in range(10)} != set(shares):
        assert time.monotonic() < deadline, f"the gateway does not serve {shares}"


def ask_many(gateway: TraefikGateway, count: int) -> Counter[str]:
    return Counter(gateway.fetch()[1] for _ in range(count))


def test_all_requests_go_to_the_one_region_with_a_share(fresh_gateway: TraefikGateway) -> None:
    for name in ("eu", "us", "ap", "eu"):
        give(fresh_gateway, **{name: 100})
        assert ask_many(fresh_gateway, 100) == {name: 100}


def test_shares_are_exact_to_one_request(fresh_gateway: TraefikGateway) -> None:
    give(fresh_gateway, eu=50, us=30, ap=20)
    before = fresh_gateway.requests_by_region("shop", NAMES)
    seen = ask_many(fresh_gateway, 1000)
    # Traefik serves by earliest deadline in floating point: where deadlines tie, their order varies, so a window that
    # begins or ends inside a tie is one request off, however long it is.
    assert all(abs(seen[name] - share) <= 1 for name, share in {"eu": 500, "us": 300, "ap": 200}.items()), seen
    after = fresh_gateway.requests_by_region("shop", NAMES)
    assert {name: after[name] - before[name] for name in NAMES} == dict(seen)


def test_the_route_is_accepted(fresh_gateway: TraefikGateway) -> None:
    conditions = fresh_gateway.route_conditions("shop")
    assert (conditions["Accepted"], conditions["ResolvedRefs"]) == ("True", "True")


@pytest.mark.parametrize(("fault", "status", "seconds"), [("kill", 502, 0.0), ("hang", 504, 1.0), ("drop", 504, 0.5)])
def test_a_dead_region_keeps_its_share_and_answers_in_bounded_time(
    fresh_gateway: TraefikGateway, gateway_regions: Regions, fault: str, status: int, seconds: float
) -> None:
    # Without a request before it there is no kept connection: the gateway has to dial.
    gateway_regions["eu"].close_idle_connections()
    getattr(gateway_regions["eu"], fault)()
    start = time.monotonic()
    answers = {fresh_gateway.fetch()[0] for _ in range(3)}
    took = (time.monotonic() - start) / 3
    assert answers == {status}
    assert took >= seconds * 0.9


def test_a_switch_of_weights_loses_no_request(fresh_gateway: TraefikGateway) -> None:
    with ClientLoop(fresh_gateway.url, rate=200) as loop:
        loop.wait_served_by("eu", timeout=10.0)
        written = fresh_gateway.set_weights("shop", {"eu": 0, "us": 100, "ap": 0})
        loop.wait_served_by("us", timeout=10.0, since=written)
    timeline = loop.timeline()
    assert timeline.lost == 0
    last_old, first_new = timeline.last_good("eu"), timeline.first_good("us")
    assert last_old is not None
    assert first_new is not None
    assert abs(last_old.sent - first_new.sent) < 1.0


def test_an_outage_ends_when_the_weights_move(fresh_gateway: TraefikGateway, gateway_regions: Regions) -> None:
    with ClientLoop(fresh_gateway.url, rate=100) as loop:
        loop.wait_served_by("eu", timeout=10.0)
        killed = gateway_regions["eu"].kill()
        loop.wait_for(lambda record: record.status == 502, timeout=10.0, since=killed)
        written = fresh_gateway.set_weights("shop", {"eu": 0, "us": 100, "ap": 0})
        good = loop.wait_served_by("us", timeout=10.0, since=written)
        loop.wait_served_by("us", timeout=10.0, since=good.sent + 0.3)
    timeline = loop.timeline()
    assert timeline.lost > 0
    assert timeline.between(good.sent + 0.1, good.sent + 0.3).lost == 0
    assert timeline.outage(killed) <= good.sent - killed + 0.1


def test_two_gateways_and_applications_share_an_api_server(
    fresh_gateway: TraefikGateway, gateway_cluster: Cluster, gateway_regions: Regions
) -> None:
    namespace = gateway_cluster.create_namespace("other")
    with TraefikGateway(gateway_cluster, name="second") as second:
        backends = backends_of(gateway_regions)
        second.publish("cart", backends, namespace=namespace, weights={"ap": 1}, hostnames=["cart.test"])
        assert second.fetch(host="cart.test") == (200, "ap")
        assert second.fetch()[0] == 404
        assert fresh_gateway.fetch(host="cart.test") == (200, "eu")  # it knows of no such host: its own route answers


def test_it_comes_back_on_the_same_port(fresh_gateway: TraefikGateway) -> None:
    port = fresh_gateway.port
    fresh_gateway.stop()
    with pytest.raises(OSError, match="refused"):
        fresh_gateway.fetch()
    fresh_gateway.start()
    deadline = time.monotonic() + 10.0
    while fresh_gateway.fetch() != (200, "eu"):
        assert time.monotonic() < deadline
    assert fresh_gateway.port == port
