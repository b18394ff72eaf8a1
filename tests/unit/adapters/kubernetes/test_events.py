"""Events: what the API server accepts, aggregated into series, limited, and never in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.adapters.kubernetes import events as events_module
from regent.adapters.kubernetes.events import BURST, NOTE_BYTES, QUEUE, SERIES_WINDOW, EventRecorder, cut
from regent.domain.errors import UnavailableError
from regent.engine.resources import EVENTS
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics


def policy(uid: str = "u1", name: str = "shop", namespace: str = "shop") -> dict[str, Any]:
    metadata = {"name": name, "uid": uid, "resourceVersion": "7", **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": metadata}


class Bench:
    def __init__(self) -> None:
        self.cluster, self.clock, self.metrics = FakeCluster(), FakeClock(), FakeMetrics()
        self.recorder = EventRecorder(self.cluster, instance="pod-1", clock=self.clock, metrics=self.metrics)

    def say(self, note: str = "moved", **about: Any) -> None:
        self.recorder.event(policy(**about), kind="Normal", reason="Shifted", action="Shift", note=note)

    async def posted(self) -> list[dict[str, Any]]:
        async with self.running():
            await self.recorder.drain(5)
        return list(await self.cluster.list(EVENTS))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.recorder.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_event_carries_what_the_api_requires() -> None:
    bench = Bench()
    bench.say()
    [event] = await bench.posted()
    assert event["metadata"]["namespace"] == "shop"
    assert event["metadata"]["name"].startswith("shop.")
    assert event["regarding"]["uid"] == "u1"
    assert event["regarding"]["kind"] == "FailoverPolicy"
    assert (event["type"], event["reason"], event["action"], event["note"]) == ("Normal", "Shifted", "Shift", "moved")
    assert event["reportingController"] == "regent.dev/operator"
    assert event["reportingInstance"] == "pod-1"
    assert event["eventTime"].endswith("Z")
    assert "." in event["eventTime"]
    assert not {"count", "firstTimestamp", "lastTimestamp", "source", "series"} & set(event)


async def test_events_about_cluster_scoped_objects_live_in_default() -> None:
    bench = Bench()
    bench.say(namespace="")
    [event] = await bench.posted()
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["regarding"]


async def test_the_same_event_again_is_a_series_of_one_object() -> None:
    bench = Bench()
    for _ in range(50):
        bench.say()
    [event] = await bench.posted()
    assert event["series"]["count"] == 2, "the first repeat is shown at once"
    bench.clock.advance(60)
    bench.say()
    [event] = await bench.posted()
    assert event["series"]["count"] == 51
    assert len(bench.cluster.writes) == 3


async def test_another_note_object_or_a_long_pause_begins_a_new_event() -> None:
    bench = Bench()
    bench.say()
    bench.say("other")
    bench.say(uid="u2")
    assert len(await bench.posted()) == 3
    bench.clock.advance(SERIES_WINDOW + 1)
    bench.say()
    assert len(await bench.posted()) == 4


async def test_an_object_that_makes_noise_is_limited_and_does_not_drown_others() -> None:
    bench = Bench()
    for number in range(200):
        bench.say(f"note {number}")
    bench.say(uid="quiet")
    events = await bench.posted()
    assert len([event for event in events if event["regarding"]["uid"] == "u1"]) == BURST
    assert len([event for event in events if event["regarding"]["uid"] == "quiet"]) == 1
    assert bench.metrics.counted("regent_events_total", result="dropped") == 200 - BURST


async def test_the_queue_is_bounded_and_never_blocks() -> None:
    bench = Bench()
    for number in range(QUEUE + 100):
        bench.say(uid=f"u{number}")
    assert bench.metrics.counted("regent_events_total", result="dropped") == 100


async def test_a_failing_api_server_loses_events_and_nothing_else() -> None:
    bench = Bench()
    bench.cluster.fail("create", UnavailableError("down"))
    bench.say()
    bench.say()
    events = await bench.posted()
    assert bench.metrics.counted("regent_events_total", result="failed") == 1
    assert len(events) == 1, "the second is posted anew, because the first is not there to be raised"


async def test_an_event_that_somebody_deleted_is_posted_anew_after_one_loss() -> None:
    bench = Bench()
    bench.say()
    [event] = await bench.posted()
    await bench.cluster.delete(EVENTS, "shop", event["metadata"]["name"], uid=event["metadata"]["uid"])
    bench.say()
    bench.say()
    assert len(await bench.posted()) == 1


@given(st.text(max_size=3000))
def test_notes_fit_in_bytes_and_break_no_character(note: str) -> None:
    shortened = cut(note)
    assert len(shortened.encode()) <= NOTE_BYTES
    assert note.startswith(shortened.removesuffix("…"))


def test_a_note_at_the_limit_is_left_alone() -> None:
    assert cut("é" * 512) == "é" * 512
    assert len(cut("é" * 513).encode()) <= NOTE_BYTES


@pytest.mark.parametrize("name", ["x" * 253])
async def test_long_names_still_make_valid_event_names(name: str) -> None:
    bench = Bench()
    bench.say(name=name)
    [event] = await bench.posted()
    assert len(event["metadata"]["name"]) <= 253


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "OBJECTS", 5)
    bench = Bench()
    for number in range(50):
        bench.say(uid=f"u{number}")
    assert len(await bench.posted()) == 50
    assert len(bench.recorder._series) <= 5
    assert len(bench.recorder._buckets) <= 5
