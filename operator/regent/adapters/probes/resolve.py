"""Names to addresses for probes, without letting a broken name service look like a broken region.

Lookups run in daemon threads of their own: the loop's executor stays free for others, and a lookup that hangs in the C
library does not hold up the end of the process. Equal lookups that overlap are one. The last good addresses of a name
are used whenever the name service does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import queue
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from regent.adapters.probes.outcome import LOCAL_ERRORS, NameNotFoundError, NotTriedError

MAX_NAMES = 4096
"""Names whose last good addresses are kept."""
MAX_ADDRESSES = 6
"""Addresses of one name that are tried."""

_SPARE_DESCRIPTORS = 4
_NOT_THERE = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class Address(NamedTuple):
    """Where to connect to."""

    family: int
    sockaddr: tuple[Any, ...]


Addresses = tuple[Address, ...]
_Lookup = Callable[[str, int], Addresses]


def literal(host: str, port: int) -> Addresses | None:
    """Return the address that `host` spells out, None when it is a name."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    if address.version == 4:
        return (Address(socket.AF_INET, (str(address), port)),)
    return (Address(socket.AF_INET6, (str(address), port, 0, 0)),)


def system_lookup(host: str, port: int) -> Addresses:
    """Ask the C library; blocks. OSError when descriptors were missing for it.

    Without descriptors it can read neither the hosts file nor its configuration, and then says that the name does
    not exist. So that answer counts only when it comes twice, with descriptors to spare in between.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno not in _NOT_THERE:
            raise
        with contextlib.ExitStack() as spare:
            for _ in range(_SPARE_DESCRIPTORS):
                spare.enter_context(socket.socket())
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return alternate(Address(family, sockaddr) for family, _, _, _, sockaddr in found)


def alternate(addresses: Any) -> Addresses:
    """Order addresses so that the families take turns, the preferred one first, and bound their number.

    A family that is broken then costs one attempt, not as many as the name has addresses of it.
    """
    unique: dict[Address, None] = dict.fromkeys(addresses)
    if not unique:
        return ()
    preferred = next(iter(unique)).family
    first = [address for address in unique if address.family == preferred]
    second = [address for address in unique if address.family != preferred]
    ordered: list[Address] = []
    for index in range(max(len(first), len(second))):
        ordered += first[index : index + 1] + second[index : index + 1]
    return tuple(ordered[:MAX_ADDRESSES])


class Resolver:
    """Resolves names on behalf of one event loop.

    An answer younger than `fresh_for` seconds is used again, so that an outage of many regions with overlapping
    retries does not become a storm on the name service. At most `threads` lookups run at once.
    """

    def __init__(self, *, lookup: _Lookup = system_lookup, fresh_for: float = 1.0, threads: int = 8) -> None:
        self._lookup = lookup
        self._fresh_for = fresh_for
        self._known: OrderedDict[tuple[str, int], tuple[float, Addresses]] = OrderedDict()
        self._running: dict[tuple[str, int], asyncio.Future[Addresses | Exception]] = {}
        self._workers = _Workers(threads)

    async def resolve(self, host: str, port: int, *, timeout: float) -> Addresses:
        """Return the addresses of `host`.

        Waits for the name service at most `timeout` seconds, and much less when older addresses are known: a probe
        that has somewhere to go must not be late because of a name. Raises NameNotFoundError when the service
        says that the name does not exist, NotTriedError when it does not answer and nothing is known.
        """
        key = (host, port)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < self._fresh_for:
            return known[1]
        answer = self._ask(key)
        await asyncio.wait((answer,), timeout=timeout if known is None else min(0.25, timeout / 2))
        result = answer.result() if answer.done() else NotTriedError(f"name service does not answer for {host}")
        if isinstance(result, NameNotFoundError):
            raise result
        if isinstance(result, Exception):
            if known is not None:
                return known[1]
            raise result
        return result

    def _ask(self, key: tuple[str, int]) -> asyncio.Future[Addresses | Exception]:
        """Start a lookup, or join the one that runs. It is never cancelled: its answer is for the next probe too."""
        answer = self._running.get(key)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            self._running[key] = answer
            answer.add_done_callback(functools.partial(self._remember, key))
            self._workers.run(functools.partial(self._look_up, loop, answer, key))
        return answer

    def _look_up(
        self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Addresses | Exception], key: tuple[str, int]
    ) -> None:
        """Runs in a worker thread."""
        result: Addresses | Exception
        try:
            result = self._lookup(*key)
            if not result:
                result = NameNotFoundError(f"name {key[0]} has no address")
        except socket.gaierror as error:
            if error.errno in _NOT_THERE:
                result = NameNotFoundError(f"name {key[0]} does not exist")
            else:
                result = NotTriedError(f"name service fails for {key[0]}: {error.strerror}".lower())
        except OSError as error:
            local = "no descriptors or memory" if error.errno in LOCAL_ERRORS else str(error)
            result = NotTriedError(f"name service cannot be asked for {key[0]}: {local}")
        except UnicodeError:
            result = NameNotFoundError(f"name {key[0]} is not a host name")
        try:
            loop.call_soon_threadsafe(_settle, answer, result)
        except RuntimeError:
            return  # the loop ended before the name service answered; nobody waits any more

    def _remember(self, key: tuple[str, int], answer: asyncio.Future[Addresses | Exception]) -> None:
        self._running.pop(key, None)
        if answer.cancelled():
            return
        result = answer.result()
        if isinstance(result, NameNotFoundError):
            # A definite answer: older addresses are wrong from now on.
            self._known.pop(key, None)
        elif not isinstance(result, Exception):
            self._known[key] = (time.monotonic(), result)
            self._known.move_to_end(key)
            while len(self._known) > MAX_NAMES:
                self._known.popitem(last=False)

    def close(self) -> None:
        """Let the worker threads end."""
        self._workers.close()


def _settle(answer: asyncio.Future[Addresses | Exception], result: Addresses | Exception) -> None:
    if not answer.done():
        answer.set_result(result)


class _Workers:
    """A few daemon threads over a queue, started when there is work that no idle one takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0
        self._unfinished = 0
        self._lock = threading.Lock()

    def run(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._unfinished += 1
            if self._unfinished > self._started and self._started < self._limit:
                self._started += 1
                threading.Thread(target=self._work, name=f"regent-names-{self._started}", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                with self._lock:
                    self._unfinished -= 1

    def close(self) -> None:
        with self._lock:
            for _ in range(self._started):
                self._jobs.put(None)
            self._started = 0
