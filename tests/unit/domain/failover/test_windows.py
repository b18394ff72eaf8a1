"""Schedules and windows: against croniter for the times, by hand for daylight saving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from regent.domain.failover import windows
from regent.domain.failover.drills import decide_drill
from regent.domain.failover.options import Window
from regent.domain.times import parse_rfc3339, rfc3339
from tests.fakes.verdict_world import snapshot_of

UTC_ZONE = ZoneInfo("UTC")
DUBLIN = ZoneInfo("Europe/Dublin")
MONTH_NAMES = [*windows.MONTHS, *(str(number) for number in range(1, 13))]


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # croniter takes `7-7` for every value; it is one value to us, as it is to cron.
    pair = st.tuples(number, number).filter(lambda p: p[0] != p[1]).map(sorted)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        pair.map(lambda p: f"{p[0]}-{p[1]}"),
        st.integers(1, max(2, (high - low) // 2)).map(lambda step: f"*/{step}"),
        st.tuples(pair, st.integers(1, 9)).map(lambda p: f"{p[0][0]}-{p[0][1]}/{p[1]}"),
    )
    return st.lists(part, min_size=1, max_size=3).map(lambda parts: "*" if "*" in parts else ",".join(parts))


PLAIN_DAY = st.one_of(st.just("*"), st.integers(1, 28).map(str))
SCHEDULES = st.builds(
    " ".join,
    st.tuples(
        _field(0, 59),
        _field(0, 23),
        PLAIN_DAY,
        st.one_of(_field(1, 12), st.sampled_from(MONTH_NAMES)),
        st.one_of(st.just("*"), st.integers(0, 6).map(str), st.sampled_from(windows.DAYS), st.just("MON-FRI")),
    ),
)
MOMENTS = st.integers(1_700_000_000, 1_900_000_000)


@settings(max_examples=150)
@given(SCHEDULES, MOMENTS)
def test_the_next_and_the_last_time_are_those_of_croniter(schedule: str, moment: int) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    cron = windows.parse(schedule)
    expected = croniter(schedule, now).get_next(datetime)
    assert windows.following(cron, UTC_ZONE, moment) == expected.timestamp(), schedule
    # croniter's previous time is strictly before; ours may be this very moment.
    last = croniter(schedule, now + timedelta(seconds=1)).get_prev(datetime)
    within = 86_400.0 * 40
    found = windows.previous(cron, UTC_ZONE, moment, within=within)
    assert found == (last.timestamp() if moment - last.timestamp() <= within else None), schedule


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("0 2 * *", "five fields"),
        ("61 2 * * *", "outside 0-59"),
        ("0 2 * * FUN", "no name"),
        ("0 2 * * 1-", "no part"),
        ("0 2 */0 * *", "outside"),
        ("0 2 ** * *", "no part"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_wrong(schedule: str, why: str) -> None:
    assert why in windows.problem(schedule, "")


def test_a_time_zone_that_is_none_is_said_and_its_window_is_shut() -> None:
    assert "no time zone 'Europe/Atlantis'" in windows.problem("0 2 * * *", "Europe/Atlantis")
    window = Window(start="* * * * *", duration=60, time_zone="Europe/Atlantis")
    assert windows.open_until(window, 0) is None
    assert windows.opens(window, 0) is None
    for odd in ("Europe", "../etc/passwd", "/etc/passwd"):
        assert windows.problem("0 2 * * *", odd)


def _times(schedule: str, zone: ZoneInfo, start: str, count: int) -> list[str]:
    moment, found = parse_rfc3339(start), []
    for _ in range(count):
        moment = windows.following(windows.parse(schedule), zone, moment) or 0.0
        found.append(rfc3339(moment))
    return found


def test_a_skipped_hour_opens_once_and_one_offset_later() -> None:
    # On 29 March 2026 Dublin's clocks go from 01:00 to 02:00.
    assert _times("30 1 * * *", DUBLIN, "2026-03-28T12:00:00Z", 2) == ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]


def test_a_repeated_hour_opens_once_for_a_fixed_time_and_twice_for_every_hour() -> None:
    # On 25 October 2026 Dublin's clocks go back from 02:00 to 01:00.
    assert _times("30 1 * * *", DUBLIN, "2026-10-24T12:00:00Z", 2) == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    assert _times("30 * * * *", DUBLIN, "2026-10-25T00:00:00Z", 3) == [
        "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z",
    ]  # fmt: skip


def test_a_window_lasts_its_length_in_real_time_across_the_change() -> None:
    window = Window(start="0 23 * * 6", duration=4 * 3600, time_zone="Europe/Dublin")
    opened = parse_rfc3339("2026-10-24T22:00:00Z")
    assert windows.open_until(window, opened - 1) is None
    assert windows.open_until(window, opened) == opened + 4 * 3600
    assert windows.open_until(window, opened + 4 * 3600 - 1) == opened + 4 * 3600
    assert windows.open_until(window, opened + 4 * 3600) is None


def test_a_window_of_a_week_is_open_from_the_first_to_the_last_second() -> None:
    window = Window(start="0 0 1 1 *", duration=168 * 3600)
    opened = parse_rfc3339("2026-01-01T00:00:00Z")
    assert windows.open_until(window, opened + 168 * 3600 - 1) == opened + 168 * 3600
    assert windows.open_until(window, opened + 168 * 3600) is None
    assert windows.opens(window, opened) == parse_rfc3339("2027-01-01T00:00:00Z")


def test_29_february_comes() -> None:
    assert _times("0 2 29 2 *", UTC_ZONE, "2026-01-01T00:00:00Z", 1) == ["2028-02-29T02:00:00Z"]
    assert windows.following(windows.parse("0 2 31 4 *"), UTC_ZONE, 0) is None


DRILL: dict[str, Any] = {"drills": {"schedule": "0 12 * * 6"}}


@pytest.mark.parametrize(
    ("world", "last", "due", "reason"),
    [
        ({}, None, 0.0, ""),
        ({}, -604_800.0, 0.0, ""),
        ({}, 0.0, None, ""),
        ({"world": {"at": "2026-09-19T12:09:59Z"}}, None, -599.0, ""),
        ({"world": {"at": "2026-09-19T12:10:01Z"}}, None, None, ""),
        ({"state": {"operation": True}}, None, None, "RunInProgress"),
        ({"state": {"epoch": 0}}, None, None, "NotAdopted"),
        ({"policy": {"suspend": True}}, None, None, "Suspended"),
        ({"policy": {"windows": [{"start": "0 2 * * *", "allow": ["Drill"]}]}}, None, None, "OutsideWindow"),
        ({"policy": {"windows": [{"start": "0 2 * * *", "allow": ["Failback"]}]}}, None, 0.0, ""),
        ({"policy": {"drills": {"schedule": "0 12 * * 6", "zone": "Nowhere"}}}, None, None, "InvalidSchedule"),
        ({"policy": {"drills": None}}, None, None, ""),
    ],
)
def test_when_a_drill_is_due(world: dict[str, Any], last: float | None, due: float | None, reason: str) -> None:
    """Times are seconds from Saturday noon or, for `due`, from the moment of the world."""
    snapshot = snapshot_of({**world, "policy": {**DRILL, **world.get("policy", {})}})
    noon = parse_rfc3339("2026-09-19T12:00:00Z")
    found = decide_drill(snapshot, None if last is None else noon + last)
    assert found.due_time == (None if due is None else snapshot.wall_time + due)
    assert found.reason == reason
