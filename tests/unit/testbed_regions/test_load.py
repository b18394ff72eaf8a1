"""The client loop counts what it sends and times what it loses; the timeline's figures are exact."""

from collections.abc import Iterator

import pytest

from testbed.load import ClientLoop, Connections, Outcome, Record, Timeline
from testbed.regions import Region, Regions


@pytest.fixture(scope="module")
def load_regions() -> Iterator[Regions]:
    with Regions(["eu"]) as regions:
        yield regions


@pytest.fixture
def served(load_regions: Regions) -> Iterator[Region]:
    yield load_regions["eu"]
    load_regions.heal()


def test_every_request_is_counted_and_attributed(served: Region) -> None:
    before = served.counters()["traffic"]
    with ClientLoop(served.http_url, rate=200, count=60) as loop:
        timeline = loop.wait_end(timeout=10.0)
    assert served.counters()["traffic"] - before == 60
    assert timeline.by_region() == {"eu": 60}
    assert timeline.lost == 0
    assert timeline.records[-1].sent - timeline.records[0].sent == pytest.approx(59 / 200, abs=0.2)


def test_kept_connections_are_few_and_fresh_ones_are_as_many_as_requests(served: Region) -> None:
    used = []
    for connections in (Connections.KEPT, Connections.FRESH):
        before = served.counters()["connections_accepted"]
        with ClientLoop(served.http_url, rate=100, count=30, connections=connections) as loop:
            loop.wait_end(timeout=10.0)
        used.append(served.counters()["connections_accepted"] - before)
    assert used[1] == 30
    assert used[0] < 10


@pytest.mark.parametrize(
    ("fault", "outcome"), [("kill", Outcome.REFUSED), ("hang", Outcome.TIMEOUT), ("hang_up", Outcome.BROKEN)]
)
def test_an_outage_is_timed_from_fault_to_recovery(served: Region, fault: str, outcome: Outcome) -> None:
    with ClientLoop(served.http_url, rate=100, timeout=0.3) as loop:
        loop.wait_served_by("eu", timeout=10.0)
        broken = getattr(served, fault)()
        loop.wait_for(lambda record: record.outcome is outcome, timeout=10.0, since=broken)
        healed = served.heal()
        loop.wait_served_by("eu", timeout=10.0, since=healed)
    timeline = loop.timeline()
    first, last = timeline.first_failure, timeline.last_failure
    assert first is not None
    assert last is not None
    assert broken - 0.3 <= first.sent <= last.sent <= healed
    assert timeline.by_outcome()[outcome] > 0
    assert 0.0 < timeline.outage(broken) <= healed - broken
    again = timeline.first_good("eu", after=last.sent)
    assert again is not None
    assert again.done > healed - 0.3


def test_a_server_error_is_a_loss_and_a_client_error_is_none(served: Region) -> None:
    served.status(503)
    with ClientLoop(served.http_url, rate=100, count=10) as loop:
        assert loop.wait_end(timeout=10.0).by_outcome() == {Outcome.STATUS: 10}
    served.status(404)
    with ClientLoop(served.http_url, rate=100, count=10) as loop:
        assert loop.wait_end(timeout=10.0).by_outcome() == {Outcome.GOOD: 10}


def test_waiting_for_what_never_comes_ends(served: Region) -> None:
    with ClientLoop(served.http_url, rate=100) as loop, pytest.raises(TimeoutError):
        loop.wait_served_by("atlantis", timeout=0.5)


def test_a_client_that_cannot_run_says_why(served: Region) -> None:
    loop = ClientLoop(served.http_url)
    loop._argv.append("--nonsense")
    loop.start()
    with pytest.raises(TimeoutError):
        loop.wait_served_by("eu", timeout=10.0)
    with pytest.raises(RuntimeError, match="unrecognized arguments: --nonsense"):
        loop.stop()


def answered(sent: float, region: str = "", *, latency: float = 0.0, outcome: Outcome = Outcome.GOOD) -> Record:
    return Record(sent, latency, outcome, 200 if outcome is Outcome.GOOD else 502, region)


def test_figures_of_a_known_timeline() -> None:
    timeline = Timeline(
        [
            answered(2.5, "us", latency=0.1),
            answered(0.0, "eu"),
            answered(1.0, "eu"),
            answered(1.5, outcome=Outcome.STATUS),
            answered(2.0, latency=1.0, outcome=Outcome.TIMEOUT),
            answered(2.4, "us", latency=0.5),
            answered(3.0, "us"),
        ]
    )
    assert [record.sent for record in timeline.failures] == [1.5, 2.0]
    assert timeline.lost == 2
    assert timeline.outage(1.2) == pytest.approx(0.8)
    assert timeline.outage(2.1) == 0.0
    last_good = timeline.last_good("eu")
    assert last_good is not None and last_good.sent == 1.0
    first_new = timeline.first_good("us", after=1.2)
    assert first_new is not None and first_new.sent == 2.5  # it overtook the one sent at 2.4
    assert timeline.by_region() == {"eu": 2, "us": 3}
    assert timeline.buckets(width=1.0) == [
        (0.0, {"eu": 1}),
        (1.0, {"eu": 1, "failed": 1}),
        (2.0, {"failed": 1, "us": 2}),
        (3.0, {"us": 1}),
    ]
    assert timeline.between(1.0, 2.0).lost == 1
    assert timeline.latency(100) == 0.5
    with pytest.raises(ValueError, match="no good answers"):
        Timeline([]).latency(50)
