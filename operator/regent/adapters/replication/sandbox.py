"""Talks to the process that evaluates expressions of users: starts it when one is needed, ends it when it hangs.

It is asked synchronously, between two turns of the event loop: an answer takes about 0.1 ms, and no more than WAIT.
What has cost the process its life is not asked again for a while, and a transform for which that was so with many
objects is left alone for as long: a policy with thousands of objects cannot keep the operator busy with starting
processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Hashable
from typing import IO, Any, NoReturn, cast

from regent.adapters.replication.cel_worker import MAX_ANSWER, PROCESSOR
from regent.engine.ports import Clock

COMMAND = (sys.executable, "-I", "-B", "-m", "regent.adapters.replication.cel_worker")
"""Isolated: neither variables of the environment nor the working directory say what is imported."""

WAIT = 2.0
"""Seconds until an answer has to be there. Its processor time is bounded by the process itself; this is for a machine
that does not let it run."""

CALM_WAIT = 30.0
"""The same where nobody else waits: for a check, which also waits for the process to start."""

STRIKES = 10
REST = 600.0
"""A request that has ended the process is refused for REST seconds; STRIKES of them, and all of the transform are."""

REMEMBERED = 1000
"""Requests and transforms that are remembered for that."""


class UnansweredError(Exception):
    """There is no answer, and why, for people."""


class FatalError(UnansweredError):
    """The process has died of it."""


class Sandbox:
    """One process, which is started when it is needed."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._lock = threading.Lock()
        self._fatal: dict[Hashable, tuple[int, float]] = {}
        """Requests by their hash, and transforms: how often one has ended the process, and until when that counts."""

    def ask(self, request: dict[str, Any], *, blame: Hashable) -> dict[str, Any]:
        """Return the answer to a request.

        Args:
            blame: what is to be left alone when the process does not survive it with many objects.

        Raises:
            UnansweredError: the process has died of it, or does not answer now.
        """
        data = json.dumps(request).encode() + b"\n"
        digest = hashlib.sha256(data).digest()
        if self._strikes(digest) or self._strikes(blame) >= STRIKES:
            raise UnansweredError("it took too much processor time or memory, and is tried again in some minutes")
        try:
            return self._ask(data, wait=WAIT)
        except FatalError:
            self._strike(digest)
            self._strike(blame)
            raise

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """As `ask`, for what is asked once: nobody is blamed. It may be called in another thread."""
        return self._ask(json.dumps(request).encode() + b"\n", wait=CALM_WAIT)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, data: bytes, *, wait: float) -> dict[str, Any]:
        if not self._lock.acquire(timeout=wait):
            raise UnansweredError("the process that evaluates expressions is being started")
        try:
            process = self._started()
            if not self._ready:
                self._exchange(process, b"", wait)
                self._ready = True
            return dict(json.loads(self._exchange(process, data, wait)))
        finally:
            self._lock.release()

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    # Else an interrupt at a terminal would end it before the operator has finished.
                    start_new_session=True,
                )
            except OSError as error:
                raise UnansweredError(f"the process that evaluates expressions cannot be started: {error}") from error
            for pipe in _pipes(self._process):
                os.set_blocking(pipe.fileno(), False)
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes, wait: float) -> bytes:
        """Write a request, if there is one, and read the line that answers it."""
        stdin, stdout = (pipe.fileno() for pipe in _pipes(process))
        line, deadline = bytearray(), time.monotonic() + wait
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        if data:
            poll.register(stdin, select.POLLOUT)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                self._late(wait)
            for descriptor, _ in poll.poll(left * 1000):
                if descriptor == stdin:
                    data = _write(descriptor, data)
                    if not data:
                        poll.unregister(descriptor)
                    continue
                read = os.read(descriptor, 1 << 16)
                if not read or len(line) > MAX_ANSWER + 2:
                    self._died()
                line += read
        return bytes(line)

    def _late(self, wait: float) -> NoReturn:
        if not self._ready:
            raise UnansweredError("the process that evaluates expressions is being started")
        self._end()
        raise UnansweredError(f"there was no answer within {wait:g} s: the machine is too busy")

    def _died(self) -> NoReturn:
        was_ready = self._ready
        code = self._end()
        if not was_ready:
            raise UnansweredError("the process that evaluates expressions cannot be started")
        if code == -signal.SIGPROF:
            raise FatalError(f"it took more than {PROCESSOR:g} s of processor time")
        raise FatalError("it took too much memory")

    def _strikes(self, what: Hashable) -> int:
        strikes, until = self._fatal.get(what, (0, 0.0))
        return strikes if self._clock.monotonic() < until else 0

    def _strike(self, what: Hashable) -> None:
        if len(self._fatal) >= REMEMBERED:
            self._fatal.clear()
        self._fatal[what] = (self._strikes(what) + 1, self._clock.monotonic() + REST)

    def _end(self) -> int | None:
        process, self._process, self._ready = self._process, None, False
        if process is None:
            return None
        for pipe in _pipes(process):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            # It has died, or ends at the end of its input, unless it is at something.
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Its standard input and output, which are always pipes here."""
    return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)


def _write(descriptor: int, data: bytes) -> bytes:
    """Write what there is room for; return the rest, which is nothing when nobody reads any more."""
    try:
        return data[os.write(descriptor, data[: 1 << 16]) :]
    except BrokenPipeError:
        return b""
