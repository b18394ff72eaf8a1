"""Virtual time: one heap of events for the whole world, and an event loop of its own for each simulated process.

A process's loop runs real coroutines. It can be paused (nothing of it goes on, as under SIGSTOP, and everything that
came due meanwhile happens when it wakes) and killed (nothing of it ever happens again). Its clock may run fast or slow.
Everything is deterministic: events at the same time happen in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

BUSY = 20_000
"""Events at one and the same moment after which the world is taken to turn in circles."""


STEP = 1e-6
"""Seconds that one step of a coroutine takes by its process's clock: computing takes time, else what is due "in no
time" would come back for ever."""


class StandstillError(AssertionError):
    """Time does not go on: something asks to be called at once, for ever."""


class Scheduler:
    """The world's time and what happens next in it."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self.failure: BaseException | None = None
        """Set by whoever finds something wrong where raising it would be caught; raised after the present event."""

    def at(self, time: float, what: Callable[..., object], *args: Any) -> None:
        """Call `what` at `time`, or now when that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(time, self.now), self._count, what, args))

    def after(self, delay: float, what: Callable[..., object], *args: Any) -> None:
        """Call `what` in `delay` seconds."""
        self.at(self.now + delay, what, *args)

    def run(self, until: float) -> None:
        """Let everything happen that is due up to `until`."""
        heap, at_once = self._heap, 0
        while heap and heap[0][0] <= until:
            time, _, what, args = heapq.heappop(heap)
            at_once = at_once + 1 if time <= self.now else 0
            if at_once > BUSY:
                raise StandstillError(f"more than {BUSY} events at {time:.6f} s, at last {what!r}")
            self.now = time
            what(*args)
            if self.failure is not None:
                raise self.failure
        self.now = max(self.now, until)


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process: as much of asyncio's as coroutines without sockets need.

    Args:
        scheduler: the world's time.
        rate: seconds of this process's clock in one second of the world.
    """

    def __init__(self, scheduler: Scheduler, *, rate: float = 1.0) -> None:
        self._scheduler = scheduler
        self._rate = rate
        self._zero = scheduler.now
        self._ready: deque[asyncio.Handle] = deque()
        self._pumping = False
        self._spent = 0.0
        self._tasks: list[asyncio.Task[Any]] = []
        self.paused = False
        self.dead = False
        self.trouble: list[str] = []

    def time(self) -> float:
        return 1_000.0 + (self._scheduler.now - self._zero) * self._rate + self._spent

    def pause(self) -> None:
        """Freeze the process."""
        self.paused = True

    def wake(self) -> None:
        """Let it go on."""
        self.paused = False
        self._arm()

    def kill(self) -> None:
        """End the process. Its coroutines are closed; nothing that they do then reaches the world."""
        if self.dead:
            return
        self.dead, self.paused = True, False
        for task in self._tasks:
            if not task.done():
                task.cancel()
        for _ in range(100):
            if not self._ready:
                break
            self._turn()
        self._ready.clear()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._arm()
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._scheduler.after(max(0.0, when - self.time()) / self._rate, self._due, handle)
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None) -> Any:  # type: ignore[override]
        task = asyncio.Task(coro, loop=self, name=name)
        if len(self._tasks) > 64:
            self._tasks = [item for item in self._tasks if not item.done()]
        self._tasks.append(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._pumping

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.trouble.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to tidy: a cancelled timer does nothing when it comes due."""

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle._cancelled and not self.dead:
            self._ready.append(handle)
            self._pump()

    def _arm(self) -> None:
        if not self._pumping and not self.paused and not self.dead:
            self._scheduler.at(self._scheduler.now, self._pump)

    def _pump(self) -> None:
        if self._pumping or self.paused or self.dead:
            return
        turns = 0
        while self._ready and not self.paused and not self.dead:
            self._turn()
            turns += 1
            if turns > BUSY:
                raise StandstillError(f"a process turns in circles: {self._ready[0]!r}")

    def _turn(self) -> None:
        """Run one ready callback with this loop as the running one."""
        handle = self._ready.popleft()
        if handle._cancelled:
            return
        self._spent += STEP
        outer, self._pumping = asyncio._get_running_loop(), True
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(outer)
            self._pumping = False


class ProcessClock:
    """The clocks of one process: monotonic by its own loop, wall time that somebody may set."""

    def __init__(self, loop: ProcessLoop, wall: Callable[[], float]) -> None:
        self._loop = loop
        self._wall = wall

    def monotonic(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self._wall()
