"""Waiting for conditions with a deadline, and watching that something does not happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL = 0.05


def eventually(look: Callable[[], T], *, what: str, timeout: float, poll: float = _POLL) -> T:
    """Look again and again until the answer is true, and give it.

    An assertion that fails inside counts as "not yet", and its text tells in the end what was missing.

    Raises:
        AssertionError: the answer is still not true after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        missing = ""
        try:
            answer = look()
        except AssertionError as error:
            missing = f": {error}"
        else:
            if answer:
                return answer
            missing = f": {answer!r}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}{missing}")
        time.sleep(poll)


def never(look: Callable[[], object], *, what: str, during: float, poll: float = _POLL) -> None:
    """Watch for `during` seconds that the answer stays false.

    Raises:
        AssertionError: it was true once.
    """
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        answer = look()
        if answer:
            raise AssertionError(f"{what}: {answer!r}")
        time.sleep(poll)
