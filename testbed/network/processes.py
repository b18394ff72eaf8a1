"""Starts programs that are killed by the kernel as soon as their owner dies, however it dies.

The kernel ties that signal to the *thread* that started the program, not to the process. A test that starts a gateway
from a short-lived worker thread would lose it when the thread ends, so every program is started by one thread that
lives as long as this process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from testbed.network.commands import tool

_LOCK = threading.Lock()
_requests: queue.SimpleQueue[tuple[_Request, Future[subprocess.Popen[bytes]]]] | None = None
_owner_pid = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    argv: tuple[str, ...]
    stdin: int | IO[bytes] | None
    stdout: int | IO[bytes] | None
    stderr: int | IO[bytes] | None
    environment: Mapping[str, str] | None
    directory: Path | None


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; its PID is the program's, and it dies with this process."""
    request = _Request(
        argv=(tool("setpriv"), "--pdeathsig", "KILL", "--", *argv),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        environment=environment,
        directory=directory,
    )
    answer: Future[subprocess.Popen[bytes]] = Future()
    _starter().put((request, answer))
    return answer.result()


def stop(process: subprocess.Popen[bytes], *, grace: float = 3.0) -> int:
    """End a program: SIGTERM, then SIGKILL after `grace` seconds. A stopped program is woken to see the signal."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        if process.poll() is None:
            process.send_signal(number)
    try:
        return process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                # A pipe whose reader is gone may still hold bytes; they are of no use to anybody now.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def wait_stopped(process: subprocess.Popen[bytes]) -> None:
    """Return once the kernel has stopped the program (SIGSTOP is not instant), or when it has ended."""
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def _starter() -> queue.SimpleQueue[tuple[_Request, Future[subprocess.Popen[bytes]]]]:
    global _requests, _owner_pid  # one thread per process, made on first use and again after a fork
    with _LOCK:
        if _requests is None or _owner_pid != os.getpid():
            _requests, _owner_pid = queue.SimpleQueue(), os.getpid()
            threading.Thread(target=_serve, args=(_requests,), name="testbed-starter", daemon=True).start()
        return _requests


def _serve(requests: queue.SimpleQueue[tuple[_Request, Future[subprocess.Popen[bytes]]]]) -> None:
    while True:
        request, answer = requests.get()
        try:
            answer.set_result(
                subprocess.Popen(
                    request.argv,
                    stdin=request.stdin,
                    stdout=request.stdout,
                    stderr=request.stderr,
                    env=None if request.environment is None else dict(request.environment),
                    cwd=request.directory,
                    start_new_session=True,
                )
            )
        except BaseException as error:  # whatever it is, the caller raises it
            answer.set_exception(error)
