"""The small parts of the replicator: the worklist, reflections, passes, the pace."""

from __future__ import annotations

import asyncio

import pytest

from regent.domain.errors import ConflictError
from regent.domain.replication.model import Trigger, TriggerMode
from regent.engine.replication.listing import Listing
from regent.engine.replication.pace import Pace
from regent.engine.replication.passes import due
from regent.engine.replication.reflection import Reflection
from regent.engine.replication.worklist import Worklist
from regent.engine.replication.writing import fields_of
from regent.engine.resources import CONFIG_MAPS
from tests.fakes.clock import LoopClock


def worklist() -> Worklist[str]:
    return Worklist(wave=lambda key: int(key[0]), jitter=lambda: 0.0)


def test_waves_come_one_after_the_other() -> None:
    work = worklist()
    for key in ("2-b", "1-a", "2-a", "1-b"):
        work.add(key, 0.0)
    assert sorted(work.take(0.0, 10)) == ["1-a", "1-b"]
    assert sorted(work.take(0.0, 10)) == ["2-a", "2-b"]


def test_a_batch_is_no_larger_than_asked() -> None:
    work = worklist()
    for number in range(5):
        work.add(f"1-{number}", 0.0)
    assert len(work.take(0.0, 3)) == 3
    assert len(work.take(0.0, 3)) == 2


def test_what_changes_while_it_is_looked_at_is_looked_at_again() -> None:
    work = worklist()
    work.add("1", 0.0)
    assert work.take(0.0, 1) == ["1"]
    work.add("1", 1.0)
    assert work.take(1.0, 1) == []
    work.done("1", 2.0)
    assert work.take(2.0, 1) == ["1"]


def test_failures_wait_longer_each_time_and_are_no_lag() -> None:
    work = worklist()
    work.add("1", 0.0)
    delays = []
    now = 0.0
    for _ in range(12):
        assert work.take(now, 1) == ["1"]
        delays.append(work.failed("1", now))
        assert work.oldest() is None
        assert work.take(now + delays[-1] * 0.9, 1) == []
        now += delays[-1]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == 300.0
    work.take(now, 1)
    work.done("1", now)
    work.add("1", now)
    assert work.oldest() == now


def test_news_about_what_has_failed_is_tried_at_once() -> None:
    work = worklist()
    work.add("1", 0.0)
    work.take(0.0, 1)
    work.failed("1", 0.0)
    work.add("1", 0.1)
    assert work.take(0.1, 1) == ["1"]


def test_what_is_given_back_or_put_off_keeps_its_age() -> None:
    work = worklist()
    work.add("1", 5.0)
    work.take(6.0, 1)
    work.give_back("1")
    assert work.oldest() == 5.0
    work.take(7.0, 1)
    work.postpone("1", 9.0)
    assert work.oldest() == 5.0
    assert work.take(8.0, 1) == []
    assert work.next_due(8.0) == 1.0
    assert work.take(9.0, 1) == ["1"]


def obj(name: str, version: int, uid: str = "u") -> dict[str, object]:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": str(version)}}


def reflection() -> Reflection:
    return Reflection("eu", CONFIG_MAPS, "n")


def test_time_never_goes_back() -> None:
    seen = reflection()
    assert seen.observe(obj("a", 5))
    assert not seen.observe(obj("a", 4))
    seen.remove(obj("a", 6))
    assert not seen.observe(obj("a", 7)), "what was deleted stays deleted, whatever is late"
    assert seen.observe(obj("a", 8, uid="another"))
    seen.remove(obj("a", 9))
    assert seen.get(("n", "a")) is not None, "a namesake is not meant"


def test_a_list_does_not_undo_what_came_since_it_began() -> None:
    seen = reflection()
    seen.observe(obj("old", 1, "old"))
    listing = Listing(seen)
    seen.observe(obj("new", 9, "new"))
    listing.add(obj("third", 3, "third"))
    list(listing.finish())
    assert seen.get(("n", "old")) is None
    assert seen.get(("n", "new")) is not None
    assert seen.get(("n", "third")) is not None


def test_a_gap_makes_it_incomplete_and_is_told() -> None:
    seen, told = reflection(), []
    seen.subscribe(lambda _: None, lambda: told.append((seen.complete, seen.problem)))
    seen.list_completed()
    seen.lost("away", gap=False)
    seen.lost("away", gap=False)
    seen.lost("away", gap=True)
    seen.heard(1.0)
    assert told == [(True, ""), (True, "away"), (False, "away"), (False, "")]


@pytest.mark.parametrize(
    ("mode", "token", "last", "expected"),
    [
        (TriggerMode.WATCH, "", None, False),
        (TriggerMode.WATCH, "new", None, True),
        (TriggerMode.MANUAL, "", None, False),
        (TriggerMode.MANUAL, "old", 1.0, False),
        (TriggerMode.MANUAL, "new", 1.0, True),
        (TriggerMode.INTERVAL, "", None, True),
        (TriggerMode.INTERVAL, "", 950.0, False),
        (TriggerMode.INTERVAL, "", 900.0, True),
        (TriggerMode.SCHEDULE, "", None, True),
    ],
)
def test_when_a_pass_is_due(mode: TriggerMode, token: str, last: float | None, expected: bool) -> None:
    trigger = Trigger(mode=mode, interval=100.0, schedule="0 * * * *", sync_token=token)
    assert due(trigger, token="old", last=last, wall=1000.0).now is expected


def test_a_pass_by_schedule_is_made_up_for_once() -> None:
    hour = 3600.0
    trigger = Trigger(mode=TriggerMode.SCHEDULE, schedule="0 * * * *")
    assert due(trigger, token="", last=10 * hour - 5, wall=10 * hour + 5).now
    after = due(trigger, token="", last=10 * hour + 6, wall=10 * hour + 7)
    assert (after.now, after.next_time) == (False, 11 * hour)
    assert (
        "spec.trigger"
        in due(Trigger(mode=TriggerMode.SCHEDULE, schedule="nonsense"), token="", last=None, wall=0).problem
    )


@pytest.mark.looptime
async def test_the_pace_bounds_what_is_under_way_and_rests_when_asked() -> None:
    pace = Pace(LoopClock())
    most, under_way = 0, 0

    async def write() -> None:
        nonlocal most, under_way
        async with pace:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.1)
            under_way -= 1

    await asyncio.gather(*(write() for _ in range(50)))
    assert most == pace.allowed
    before = pace.allowed
    pace.busy(retry_after=7.0)
    assert pace.allowed == before // 2
    began = asyncio.get_running_loop().time()
    await write()
    assert asyncio.get_running_loop().time() - began >= 7.0


def test_the_fields_that_others_own_are_read_off_the_refusal() -> None:
    text = (
        'apply ConfigMap one: Apply failed with 2 conflicts: conflicts with "kubectl-edit" using v1:\n'
        "- .data.color\n- .data.size"
    )
    assert fields_of(ConflictError(text, status=409, reason="Conflict")) == (".data.color", ".data.size")
    other = "apply ConfigMap one: Operation cannot be fulfilled: the object has been modified"
    assert fields_of(ConflictError(other, status=409, reason="Conflict")) == ()
