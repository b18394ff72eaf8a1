"""What is concluded from Patroni's answers, recorded from Patroni 4.1 on PostgreSQL 15 and bent."""

from __future__ import annotations

from typing import Any

import pytest

from regent.adapters.promotion.patroni_state import (
    Address,
    PatroniSettings,
    judge,
    leader_address,
    read_seen,
    replacing,
    standby_snapshot,
)
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role

PRIMARY: dict[str, Any] = {
    "state": "running",
    "role": "primary",
    "server_version": 150018,
    "xlog": {"location": 50373584},
    "timeline": 3,
    "replication": [{"application_name": "us-0", "state": "streaming"}, {"application_name": "x", "state": "backup"}],
    "database_system_identifier": "7710639854494274709",
    "patroni": {"version": "4.1.5", "scope": "shop-eu", "name": "eu-0"},
}
STANDBY: dict[str, Any] = {
    "state": "running",
    "role": "standby_leader",
    "xlog": {"received_location": 50373700, "replayed_location": 50373584, "paused": False},
    "timeline": None,
    "replication_state": "streaming",
    "database_system_identifier": "7710639854494274709",
    "patroni": {"name": "us-0"},
}
DOWN: dict[str, Any] = {"state": "stopped", "role": "demoted", "patroni": {"name": "us-0"}}
FOLLOWS = {"ttl": 20, "standby_cluster": {"host": "10.77.0.2", "port": 5432}}
LEADS: dict[str, Any] = {"ttl": 20}


@pytest.mark.parametrize(
    ("status", "config", "role"),
    [
        (PRIMARY, LEADS, Role.ACTIVE),
        (PRIMARY, LEADS | {"standby_cluster": {}}, Role.ACTIVE),  # as Patroni: nothing to follow is no standby cluster
        (PRIMARY, FOLLOWS, Role.CHANGING),  # told to follow, and still takes writes
        (STANDBY, FOLLOWS, Role.STANDBY),
        (STANDBY | {"state": "starting", "role": "demoted"}, FOLLOWS, Role.STANDBY),
        (STANDBY, LEADS | {"standby_cluster": {"restore_command": "cp"}}, Role.STANDBY),
        (STANDBY, LEADS, Role.CHANGING),  # on its way to be a primary
        (STANDBY | {"role": "replica"}, FOLLOWS, Role.CHANGING),  # another member may be the one that is demoted
        (STANDBY | {"role": "replica"}, LEADS, Role.CHANGING),
        (DOWN, FOLLOWS, Role.STANDBY),  # no postmaster, and it will only be started in recovery
        (DOWN | {"state": "crashed"}, FOLLOWS, Role.STANDBY),
        (DOWN, LEADS, Role.CHANGING),  # no postmaster now, and a primary when it is started
        (DOWN | {"state": "stopping", "role": "primary"}, FOLLOWS, Role.CHANGING),
        (DOWN | {"state": "starting"}, FOLLOWS, Role.CHANGING),
        (DOWN | {"state": "stop failed"}, FOLLOWS, Role.CHANGING),
        ({}, {}, Role.CHANGING),
    ],
)
def test_only_what_proves_it_makes_a_role(status: dict[str, Any], config: dict[str, Any], role: Role) -> None:
    judgement = judge(read_seen(status, config))
    assert judgement.role is role
    assert judgement.message


def test_everything_that_counts_is_read() -> None:
    active = read_seen(PRIMARY, LEADS | {"regent": {"fence": "7.3.2"}, "pause": True})
    assert (active.name, active.position, active.timeline, active.recovering) == ("eu-0", 50373584, 3, False)
    assert (active.fence, active.paused, active.followers) == (Fence(7, 3, 2), True, {"us-0"})
    passive = read_seen(STANDBY, FOLLOWS)
    assert (passive.position, passive.timeline, passive.recovering, passive.streaming) == (50373584, None, True, True)
    assert "paused" in judge(active).message
    assert standby_snapshot(passive) == {"standbyCluster": {"host": "10.77.0.2", "port": 5432}}
    assert standby_snapshot(active) == {"standbyCluster": None}
    # "streaming" of something that is no standby means nothing.
    assert not read_seen(PRIMARY | {"replication_state": "streaming"}, LEADS).streaming


@pytest.mark.parametrize("absurd", [None, [], "x", 7, True, {"location": "7"}, {"location": -1}, {"location": 2**70}])
def test_absurd_answers_prove_nothing(absurd: object) -> None:
    status = PRIMARY | {
        "xlog": absurd,
        "timeline": absurd,
        "patroni": absurd,
        "replication": absurd,
        "role": absurd,
        "state": absurd,
    }
    config = {"standby_cluster": absurd, "regent": absurd}
    seen = read_seen(status, config)
    assert seen.position is None or seen.position >= 0
    assert judge(seen).role is Role.CHANGING


def test_a_patch_makes_exactly_the_wanted_cluster() -> None:
    assert replacing(None, {"host": "a"}) is None
    assert replacing({"host": "b"}, {"host": "a", "port": 1, "primary_slot_name": "s"}) == {
        "host": "b",
        "port": None,
        "primary_slot_name": None,
    }
    assert replacing({"host": "b"}, None) == {"host": "b"}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([{"role": "leader", "host": "10.77.0.2", "port": 5433}], Address(host="10.77.0.2", port=5433)),
        (
            [{"role": "replica", "host": "a"}, {"role": "standby_leader", "host": "b"}],
            Address(host="b", port=5432),
        ),
        ([{"role": "replica", "host": "a", "port": 1}], None),
        ([{"role": "leader", "host": "", "port": 1}], None),
        ([{"role": "leader", "host": "a", "port": 0}], None),
        ([{"role": "leader", "port": 5432}], None),
        ("x", None),
        ([7], None),
    ],
)
def test_the_leaders_address_is_taken_or_none(members: object, found: Address | None) -> None:
    assert leader_address({"members": members}) == found


def test_settings_are_read_as_the_api_serves_them() -> None:
    settings = PatroniSettings.read(
        {
            "clusters": [
                {"region": "eu", "url": "https://eu.example.com/", "host": "", "primarySlotName": ""},
                {"region": "us", "url": "https://us", "host": "db.us", "port": 5433, "primarySlotName": "us"},
            ],
            "credentialsSecretRef": {"name": "patroni"},
            "caSecretRef": {"name": "ca"},
        }
    )
    assert settings.clusters["eu"].url == "https://eu.example.com"
    assert (settings.clusters["us"].host, settings.clusters["us"].port, settings.clusters["us"].slot) == (
        "db.us",
        5433,
        "us",
    )
    assert (settings.credentials, settings.authority) == ("patroni", "ca")
    assert PatroniSettings.read({"clusters": [], "caSecretRef": None}) == PatroniSettings()
