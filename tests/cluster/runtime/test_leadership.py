"""Two replicas and one lease on a real API server: hand-over, death, and a leader that was frozen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.runtime.conftest import Replica, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

Start = Callable[..., Replica]
DURATION, RENEW = 2.0, 0.4
SLACK = 1.0
"""What a busy machine may add."""


@pytest.fixture
def pair(start: Start) -> tuple[Replica, Replica]:
    """A leader and a warm standby."""
    leader = start()
    until(leader.leads, "the first leads")
    standby = start()
    until(standby.ready, "the standby is ready too")
    assert not standby.leads()
    return leader, standby


def test_a_clean_stop_hands_over_at_once(pair: tuple[Replica, Replica], lease: Callable[[], dict[str, Any]]) -> None:
    leader, standby = pair
    before = lease()["leaseTransitions"]
    leader.signal(signal.SIGTERM)
    started = time.monotonic()
    until(standby.leads, "the standby leads")
    assert time.monotonic() - started < DURATION, "it did not wait for the lease to run out"
    assert leader.wait(5) == 0
    assert lease()["leaseTransitions"] == before + 1


def test_a_killed_leader_is_replaced_within_duration_and_interval(pair: tuple[Replica, Replica]) -> None:
    leader, standby = pair
    leader.signal(signal.SIGKILL)
    started = time.monotonic()
    until(standby.leads, "the standby leads")
    took = time.monotonic() - started
    assert DURATION - RENEW - 0.1 < took < DURATION + RENEW + SLACK


def test_a_frozen_leader_ends_with_three_when_it_thaws(pair: tuple[Replica, Replica], lease: Any) -> None:
    leader, standby = pair
    leader.signal(signal.SIGSTOP)
    until(standby.leads, "the standby leads")
    taken = lease()
    leader.signal(signal.SIGCONT)
    assert leader.wait(5) == 3
    after = lease()
    assert after["holderIdentity"] == taken["holderIdentity"]
    assert after["leaseTransitions"] == taken["leaseTransitions"]
    assert standby.leads()
    assert "Leadership lost" in leader.text()


def test_a_frozen_leader_does_not_lead_on_even_when_nobody_took_over(start: Start, lease: Any) -> None:
    leader = start()
    until(leader.leads, "leads")
    leader.signal(signal.SIGSTOP)
    frozen = lease()["renewTime"]
    deadline = time.monotonic() + DURATION
    until(lambda: time.monotonic() > deadline, "its lease has run out")
    leader.signal(signal.SIGCONT)
    assert leader.wait(5) == 3
    assert lease()["renewTime"] == frozen, "it has not renewed"


def test_a_lease_that_another_took_ends_the_leader(start: Start, plane: Any, lease: Any) -> None:
    leader = start()
    until(leader.leads, "leads")
    body = {"spec": {"holderIdentity": "another"}}
    plane.api.patch(
        "/apis/coordination.k8s.io/v1/namespaces/regent-system/leases/regent",
        body,
        content_type="application/merge-patch+json",
    )
    assert leader.wait(5) == 3
    assert lease()["holderIdentity"] == "another", "a lost lease is not released"
    plane.api.delete("/apis/coordination.k8s.io/v1/namespaces/regent-system/leases/regent")
