"""A lock between processes that the kernel releases when its holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.05


@contextmanager
def file_lock(path: Path, *, while_waiting: Callable[[str, float], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path` for the body of the `with`.

    The file stays behind on purpose: removing it would let a second process lock a file of the same name while
    a third still waits for the old one. `while_waiting` gets the holder's own word about itself (its process id)
    and the seconds waited so far, at each try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, while_waiting)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, while_waiting: Callable[[str, float], None] | None) -> None:
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if while_waiting is not None:
                holder = os.pread(descriptor, 64, 0).decode(errors="replace") or "another process"
                while_waiting(holder, time.monotonic() - began)
            time.sleep(_POLL_SECONDS)
