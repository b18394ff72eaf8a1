"""Says, in plain lines on standard error, what a long step is doing and how long it has taken."""

import sys
import time
from typing import TextIO


class Progress:
    """A line when a step begins, one now and then while it goes on, one when it ends.

    On a terminal the running line is rewritten each second; elsewhere (a CI log) a new one comes every `interval`
    seconds, so that a log stays readable.
    """

    def __init__(self, *, stream: TextIO | None = None, interval: float = 15.0) -> None:
        self._stream = stream
        self._interval = interval
        self._began = time.monotonic()
        self._last = float("-inf")
        self._pending_newline = False

    def say(self, text: str) -> None:
        """Write one line of its own."""
        if self._pending_newline:
            self._write("\n")
            self._pending_newline = False
        self._write(f"{text}\n")

    def tick(self, text: str) -> None:
        """Write the running line where it is due; call it as often as you like."""
        now = time.monotonic()
        on_terminal = self._out.isatty()
        if now - self._last < (1.0 if on_terminal else self._interval):
            return
        self._last = now
        line = f"{text}, {now - self._began:.0f} s so far"
        if on_terminal:
            self._write(f"\r\x1b[K{line}")
            self._pending_newline = True
        else:
            self.say(line)

    @property
    def elapsed(self) -> float:
        """Seconds since this step began."""
        return time.monotonic() - self._began

    @property
    def _out(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
