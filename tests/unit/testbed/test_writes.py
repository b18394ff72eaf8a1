"""What acknowledgements say about primaries, on made-up writes."""

from __future__ import annotations

import pytest

from testbed.database.writer import Outcome, Write, fewest_turns


def write(region: str, sent: float, done: float, *, outcome: Outcome = Outcome.ACKNOWLEDGED) -> Write:
    return Write(number=1, sent=sent, latency=done - sent, outcome=outcome, status=200, region=region)


@pytest.mark.parametrize(
    ("spans", "turns"),
    [
        ("", 0),
        ("a:0-1 a:2-3", 0),
        ("a:0-1 b:2-3", 1),
        ("a:0-1 b:2-3 a:4-5", 2),
        # The answer of the old primary came late; the write itself was before the turn.
        ("a:0-1 a:1.5-6 b:2-3 b:4-5", 1),
        # Sent before, answered after: the new primary took it.
        ("a:0-1 b:0.5-3 b:4-5", 1),
        # Two at a time, for a while.
        ("a:0-1 b:2-3 a:4-5 b:6-7 a:8-9", 4),
        ("a:0-1 b:1.1-1.2 a:1.3-1.4 b:1.5-1.6", 3),
    ],
)
def test_turns_that_acknowledgements_prove(spans: str, turns: int) -> None:
    writes = []
    for span in spans.split():
        region, times = span.split(":")
        sent, done = times.split("-")
        writes.append(write(region, float(sent), float(done)))
    assert fewest_turns(writes) == turns


def test_what_was_not_acknowledged_proves_nothing() -> None:
    writes = [write("a", 0, 1), write("b", 2, 3, outcome=Outcome.UNKNOWN), write("a", 4, 5)]
    assert fewest_turns(writes) == 0
