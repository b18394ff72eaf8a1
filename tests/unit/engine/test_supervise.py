"""The supervisor: one part ends, all end, and the exit code says why."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from regent.domain.errors import LeadershipLostError
from regent.engine.supervise import Supervisor

pytestmark = pytest.mark.looptime


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(error: BaseException) -> None:
    await asyncio.sleep(1)
    raise error


def supervisor(**parts: Any) -> Supervisor:
    made = Supervisor()
    for name, part in parts.items():
        made.add(name, part)
    return made


async def test_stop_ends_all_parts_with_zero() -> None:
    ended: list[str] = []

    async def tidy() -> None:
        try:
            await forever()
        finally:
            ended.append("tidy")

    made = supervisor(a=tidy, b=forever)
    asyncio.get_running_loop().call_later(5, made.stop)
    assert await made.run() == 0
    assert ended == ["tidy"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), 1),
        (LeadershipLostError("x"), 3),
        (ExceptionGroup("tasks", [ValueError("x"), ExceptionGroup("inner", [LeadershipLostError("x")])]), 3),
        (ExceptionGroup("tasks", [ValueError("x")]), 1),
    ],
)
async def test_a_part_that_raises_ends_the_process(error: Exception, code: int) -> None:
    other = asyncio.Event()

    async def neighbour() -> None:
        try:
            await forever()
        finally:
            other.set()

    assert await supervisor(a=lambda: fail(error), b=neighbour).run() == code
    assert other.is_set()


async def test_a_part_that_just_ends_is_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    assert await supervisor(a=lambda: asyncio.sleep(1), b=forever).run() == 1
    assert "never should" in caplog.text


async def test_a_part_that_will_not_end_is_not_waited_for_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn() -> None:
        for _ in range(2):  # the second time is the end of the test's own loop
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    made = supervisor(a=stubborn)
    asyncio.get_running_loop().call_later(1, made.stop)
    started = asyncio.get_running_loop().time()
    assert await made.run() == 0
    assert asyncio.get_running_loop().time() - started < 5
    assert "did not end in time" in caplog.text
