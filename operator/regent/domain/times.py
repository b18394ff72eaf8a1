"""Wall-clock times in the API's text form (RFC 3339, UTC). Pure: the time itself always comes in as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return `seconds` since the epoch as metav1.Time writes it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Return `seconds` since the epoch as metav1.MicroTime writes it: exactly six digits, or the API refuses it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Return the seconds since the epoch that `text` names.

    Raises:
        ValueError: the text is not an RFC 3339 time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it with a trailing Z")
    return moment.timestamp()
