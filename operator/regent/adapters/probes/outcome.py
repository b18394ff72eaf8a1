"""From errors to outcomes: which failure is the region's, which is a time-out, and which is our own.

The rule behind the table: an answer of the other side (or of the network on the way to it) is Refused, silence is
Timeout, and whatever kept us from asking is NotRun, because it would hit all regions at once and say nothing about any.
"""

from __future__ import annotations

import errno
import os
import ssl

from regent.domain.health.model import MAX_DETAIL, Outcome, ProbeResult

LOCAL_ERRORS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EPERM}
    | {errno.EACCES, errno.EAFNOSUPPORT}
)
"""Errors that are ours whenever they come: descriptors, memory or ports used up, interface down, local filter."""


class NotTriedError(Exception):
    """The probe could not be made; the message says what was missing on our side."""


class NameNotFoundError(Exception):
    """The name service answers that the name does not exist or has no address."""


class NoAnswerError(Exception):
    """The peer closed the connection without a byte of an answer."""

    def __init__(self) -> None:
        super().__init__("connection closed without an answer")


def refused(detail: str, *, latency: float = 0.0, reused: bool = False) -> ProbeResult:
    """A definite no."""
    return ProbeResult(outcome=Outcome.REFUSED, latency=latency, detail=clean(detail), reused=reused)


def not_run(detail: str) -> ProbeResult:
    """Nothing is known about the region."""
    return ProbeResult(outcome=Outcome.NOT_RUN, detail=clean(detail))


def timed_out(timeout: float, detail: str, *, reused: bool = False) -> ProbeResult:
    """No answer in `timeout` seconds; it counts with its full length."""
    return ProbeResult(outcome=Outcome.TIMEOUT, latency=timeout, detail=clean(detail), reused=reused)


def failure(error: BaseException, *, latency: float, timeout: float, reused: bool = False) -> ProbeResult:
    """Map what a connection or exchange died of to a result."""
    if isinstance(error, NotTriedError):
        return not_run(str(error))
    if isinstance(error, ssl.SSLError):
        return refused(f"TLS: {_tls_reason(error)}", latency=latency, reused=reused)
    if isinstance(error, OSError):
        if error.errno in LOCAL_ERRORS:
            return not_run(f"not tried: {_text(error)}")
        if isinstance(error, TimeoutError):
            # The kernel gave up on the peer before we did: silence all the same.
            return timed_out(timeout, _text(error), reused=reused)
        return refused(_text(error), latency=latency, reused=reused)
    return refused(str(error) or type(error).__name__, latency=latency, reused=reused)


def clean(text: str) -> str:
    """Make text that may come from a peer fit for conditions: one line, printable, bounded."""
    if len(text) <= MAX_DETAIL and text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text[:MAX_DETAIL])


def _text(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else (str(error) or type(error).__name__).lower()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate is not accepted: {getattr(error, 'verify_message', None) or error}"
    # Errors that the event loop raises itself lack the library's fields.
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
