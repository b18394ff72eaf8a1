"""The work queue: one visit at a time per key, nothing lost, priorities and delays kept. Time is the fake loop's."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from regent.engine import queue as queue_module
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.resources import REGIONS

pytestmark = pytest.mark.looptime


def key(name: str) -> Key:
    return Key(REGIONS, "", name)


def make_queue(jitter: float = 0.0) -> KeyedQueue:
    return KeyedQueue(jitter=lambda: jitter)


async def taken(queue: KeyedQueue, count: int) -> list[str]:
    names = []
    for _ in range(count):
        got = await asyncio.wait_for(queue.get(), 1_000)
        names.append(got.name)
        queue.done(got)
    return names


async def test_priority_then_order_of_arrival() -> None:
    queue = make_queue()
    queue.add(key("low"), priority=Priority.LOW)
    queue.add(key("a"))
    queue.add(key("b"))
    queue.add(key("high"), priority=Priority.HIGH)
    assert await taken(queue, 4) == ["high", "a", "b", "low"]


async def test_many_adds_are_one_visit_and_take_no_memory() -> None:
    queue = make_queue()
    for _ in range(10_000):
        queue.add(key("a"))
        queue.add(key("b"), after=5)
    assert await taken(queue, 2) == ["a", "b"]
    assert len(queue) == 0
    assert sum(len(line) for line in queue._ready.values()) + len(queue._delayed) <= 2


async def test_earlier_asks_do_not_pile_up_outdated_entries() -> None:
    queue = make_queue()
    for number in range(10_000):
        queue.add(key("a"), after=50_000 - number)
    assert len(queue._delayed) <= queue_module.COMPACT + 8


async def test_a_higher_priority_wins_over_a_pending_lower_one() -> None:
    queue = make_queue()
    queue.add(key("a"), priority=Priority.LOW)
    queue.add(key("b"))
    queue.add(key("a"), priority=Priority.HIGH)
    assert await taken(queue, 2) == ["a", "b"]
    assert queue.depth == 0


async def test_an_earlier_ask_wins_over_a_later_one_and_a_later_one_never_delays() -> None:
    queue, loop = make_queue(), asyncio.get_running_loop()
    start = loop.time()
    queue.add(key("a"), after=10)
    queue.add(key("a"), after=2)
    queue.add(key("a"), after=30)
    await taken(queue, 1)
    assert loop.time() - start == pytest.approx(2, abs=0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 100)


async def test_a_key_in_flight_is_not_handed_out_again_before_done() -> None:
    queue = make_queue()
    queue.add(key("a"))
    first = await queue.get()
    queue.add(key("a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 10)
    queue.done(first)
    assert (await asyncio.wait_for(queue.get(), 10)) == first


async def test_a_delay_asked_for_in_flight_counts_from_the_asking() -> None:
    queue, loop = make_queue(), asyncio.get_running_loop()
    queue.add(key("a"))
    got = await queue.get()
    asked = loop.time()
    queue.add(key("a"), after=5)
    await asyncio.sleep(3)
    queue.done(got)
    await queue.get()
    assert loop.time() - asked == pytest.approx(5, abs=0.01)


async def test_retries_back_off_to_a_limit_and_start_afresh_after_success() -> None:
    queue = make_queue()
    delays = []
    for _ in range(14):
        queue.add(key("a"))
        got = await queue.get()
        delays.append(queue.retry(got))
        queue.done(got)
        await queue.get()
        queue.done(got)
    assert delays[:4] == [0.05, 0.1, 0.2, 0.4]
    assert delays[-1] == queue_module.LAST_RETRY
    queue.forget(key("a"))
    assert queue.retry(key("a")) == 0.05


def test_delays_below_the_resolution_of_the_loop_that_the_operator_runs_on() -> None:
    async def all_taken() -> list[str]:
        queue = make_queue()
        for number in range(50):
            # uvloop rounds to milliseconds, and its handle for a delay of none is not a timer.
            queue.add(key(f"k{number}"), after=(50 - number) * 0.00002)
        return await asyncio.wait_for(taken(queue, 50), timeout=10.0)

    assert len(set(uvloop.run(all_taken()))) == 50


async def test_jitter_shortens_by_at_most_half_and_servers_are_obeyed() -> None:
    assert make_queue(0.999).retry(key("a")) == pytest.approx(0.025, abs=0.001)
    assert make_queue().retry(key("a"), at_least=7) == 7


async def test_a_cancelled_getter_does_not_swallow_a_wake_up() -> None:
    queue = make_queue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(key("a"))  # wakes the first
    first.cancel()
    assert (await asyncio.wait_for(second, 10)).name == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_workers_wake_one_by_one_for_a_burst() -> None:
    queue = make_queue()
    getters = [asyncio.create_task(queue.get()) for _ in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        queue.add(key(str(number)))
    got = await asyncio.wait_for(asyncio.gather(*getters), 10)
    assert len(set(got)) == 5


step = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("abcd"), st.sampled_from(Priority), st.sampled_from([0, 0, 0.5, 2, 9])),
    st.tuples(st.just("retry"), st.sampled_from("abcd")),
    st.tuples(st.just("get")),
    st.tuples(st.just("done"), st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.sampled_from([0.01, 0.6, 3])),
)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(step, max_size=60))
def test_model(steps: list[Any]) -> None:
    """Against a plain model: what comes out was due, not in flight, of highest priority; nothing is lost."""
    loop = _new_fake_loop()
    try:
        loop.run_until_complete(_replay(steps))
    finally:
        loop.close()


def _new_fake_loop() -> asyncio.AbstractEventLoop:
    import looptime

    return looptime.new_event_loop()


class Model:
    """The earliest time and highest priority asked for, per key; nothing clever."""

    def __init__(self) -> None:
        self.wanted: dict[Key, tuple[float, Priority]] = {}
        self.in_flight: deque[Key] = deque()

    def ask(self, of: Key, due: float, priority: Priority) -> None:
        if of in self.wanted:
            due, priority = min(due, self.wanted[of][0]), min(priority, self.wanted[of][1])
        self.wanted[of] = (due, priority)

    def due(self, now: float) -> dict[Key, Priority]:
        return {of: p for of, (due, p) in self.wanted.items() if due <= now and of not in self.in_flight}


async def _replay(steps: list[Any]) -> None:
    loop, queue, model = asyncio.get_running_loop(), make_queue(), Model()
    for action, *arguments in steps:
        if action == "add":
            name, priority, after = arguments
            queue.add(key(name), priority=priority, after=after)
            model.ask(key(name), loop.time() + after, priority)
        elif action == "retry":
            delay = queue.retry(key(arguments[0]))
            model.ask(key(arguments[0]), loop.time() + delay, Priority.NORMAL)
        elif action == "sleep":
            await asyncio.sleep(arguments[0])
        elif action == "done" and model.in_flight:
            model.in_flight.rotate(arguments[0])
            queue.done(model.in_flight.popleft())
        elif action == "get":
            await _get(queue, model)
    await _drain(queue, model)


async def _get(queue: KeyedQueue, model: Model) -> None:
    loop = asyncio.get_running_loop()
    due = model.due(loop.time())
    try:
        got = await asyncio.wait_for(queue.get(), 0.001)
    except TimeoutError:
        assert not due, "a due key was not handed out"
        return
    assert got not in model.in_flight, "handed out twice"
    due = model.due(loop.time() + queue_module.TICK)
    assert got in due, "handed out before its time"
    assert due[got] == min(due.values()), "a higher priority was ready"
    del model.wanted[got]
    model.in_flight.append(got)


async def _drain(queue: KeyedQueue, model: Model) -> None:
    """Let an hour pass: everything that was asked for is handed out, and then nothing is left."""
    while model.in_flight:
        queue.done(model.in_flight.popleft())
    await asyncio.sleep(3600)
    for _ in range(len(model.wanted)):
        await _get(queue, model)
    assert not model.wanted
    assert len(queue) == 0
