"""How far the data of volumes is, by what VolumeReplications and VolSync's objects say."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.replication import kinds
from regent.domain.replication.model import Object
from regent.domain.replication.storage import Storage, Volume, moved, primary, standby_problems, together
from regent.domain.times import rfc3339
from tests.fakes.replication import object_of

SYNCED = 1_800_000_000.0
SYNCED_TEXT = rfc3339(SYNCED)
SOURCE = kinds.REPLICATION_SOURCE


def volume(role: str = "primary", synced: Any = SYNCED_TEXT, **conditions: str) -> Object:
    obj = object_of(kinds.VOLUME_REPLICATION, "data", {"replicationState": role})
    found = [{"type": kind, "status": status, "message": f"it is {kind}"} for kind, status in conditions.items()]
    return {**obj, "status": {"conditions": found, **({"lastSyncTime": synced} if synced else {})}}


def sender(status: Object | None = None, **spec: Any) -> Object:
    given = {"lastSyncTime": rfc3339(SYNCED), **(status or {})}
    return {**object_of(SOURCE, "data", {"sourcePVC": "data", **spec}), "status": given}


def test_a_primary_says_when_its_copies_were_complete() -> None:
    assert primary(volume(Completed="True", Degraded="False"), "eu") == Volume(synced_at=SYNCED)


@pytest.mark.parametrize("synced", [None, "", "yesterday", 7])
def test_a_time_that_is_not_there_is_not_known(synced: Any) -> None:
    """Fails when a volume of which nothing is known has no lag."""
    found = primary(volume(synced=synced), "eu")
    assert found.synced_at is None
    storage = together([found])
    assert storage == Storage(volumes=1)
    assert storage.lag(SYNCED) is None


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (volume(Degraded="True"), "VolumeReplication/data in eu is degraded: it is Degraded"),
        (volume(Completed="False"), "VolumeReplication/data in eu is not what is asked of it: it is Completed"),
        (volume("secondary"), "VolumeReplication/data is secondary in eu: nothing is replicated from there"),
    ],
)
def test_what_is_wrong_with_a_primary_is_said(obj: Object, says: str) -> None:
    assert primary(obj, "eu").problems == (says,)


def test_a_secondary_in_the_source_tells_no_time() -> None:
    """Fails when the time of an earlier direction is taken for the lag of this one."""
    assert primary(volume("secondary"), "eu").synced_at is None


def test_what_is_wrong_with_a_standby_is_said() -> None:
    assert standby_problems(volume("secondary", Degraded="False", Completed="True"), "us") == ()
    assert standby_problems(volume("secondary", Degraded="True"), "us") == (
        "VolumeReplication/data in us is degraded: it is Degraded",
    )
    assert standby_problems(volume(), "us") == ("VolumeReplication/data is primary in us as well",)


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (sender(paused=True), "ReplicationSource/data is paused in eu"),
        (
            sender({"latestMoverStatus": {"result": "Failed", "logs": "password=hush"}}),
            "ReplicationSource/data in eu: the last copy failed, see status.latestMoverStatus.logs",
        ),
        (
            sender(
                {"conditions": [{"type": "Synchronizing", "status": "False", "reason": "Error", "message": "no\npvc"}]}
            ),
            "ReplicationSource/data in eu: no pvc",
        ),
    ],
)
def test_a_sender_that_stands_still_keeps_its_time_and_says_why(obj: Object, says: str) -> None:
    assert moved(obj, "eu") == Volume(synced_at=SYNCED, problems=(says,))


@pytest.mark.parametrize("reason", ["WaitingForSchedule", "WaitingForManual", "CleaningUp"])
def test_a_sender_that_waits_for_its_time_is_well(reason: str) -> None:
    status = {"conditions": [{"type": "Synchronizing", "status": "False", "reason": reason}]}
    assert moved(sender(status), "eu").problems == ()


@pytest.mark.parametrize(
    "obj", [{"kind": "ReplicationSource"}, {"spec": 1, "status": 2}, {"status": {"conditions": 3}}]
)
def test_nonsense_is_not_known(obj: Object) -> None:
    assert moved(obj, "eu") == Volume()
    assert primary(obj, "eu").synced_at is None


def test_the_volume_that_is_farthest_behind_counts() -> None:
    found = together([Volume(synced_at=50.0), Volume(synced_at=90.0)], [Volume(synced_at=40.0, problems=("slow",))])
    assert found == Storage(volumes=2, synced_at=40.0, problems=("slow",))
    assert found.lag(100.0) == 60.0
    assert found.lag(30.0) == 0.0, "a clock that is ahead makes no negative lag"


def test_one_that_is_not_known_makes_all_unknown_and_none_is_nothing() -> None:
    assert together([Volume(synced_at=50.0), Volume()]) == Storage(volumes=2)
    assert together([Volume(synced_at=50.0)], [Volume()]) == Storage(volumes=1)
    assert together([]) is None
