"""Turns what the API server or the network answered into `regent.domain.errors`: the only place that knows HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    FencedOffError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RegentError,
    UnavailableError,
)
from regent.engine.resources import SECRETS, Resource

MAX_MESSAGE = 1024
FENCED_OFF = "fenced off: "
"""How the chart's admission policy begins what it says when it refuses a lower fence."""


def unreachable(what: str, error: BaseException) -> UnavailableError:
    """Return the error for a request without an answer: no connection, a time-out, or an answer cut short."""
    if isinstance(error, TimeoutError):
        return UnavailableError(f"{what}: no answer in time", reason="Timeout")
    if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
        return UnavailableError(f"{what}: TLS failed: {error}"[:MAX_MESSAGE], reason="TLS")
    return UnavailableError(f"{what}: {type(error).__name__}: {error}"[:MAX_MESSAGE], reason="NoConnection")


def refused(what: str, resource: Resource, status: int, headers: Mapping[str, str], body: bytes) -> RegentError:
    """Return the error for an answer that is not a success.

    Args:
        what: verb, kind and name of the object, for the message.
        resource: of the request; what the server says about a Secret is not repeated, it may quote values.
        status: the HTTP status.
        headers: of the answer; Retry-After is honoured.
        body: of the answer, a metav1.Status if it came from an API server.
    """
    detail = _status(body)
    reason = str(detail.get("reason") or "")
    said = reason if resource == SECRETS else str(detail.get("message") or "")
    message = f"{what}: {said or f'HTTP {status}'}"[:MAX_MESSAGE]
    if status == 404:
        return NotFoundError(message, status=status, reason=reason)
    if status == 409:
        kind = AlreadyExistsError if reason == "AlreadyExists" else ConflictError
        return kind(message, status=status, reason=reason)
    if status == 403 and "ValidatingAdmissionPolicy" in said and FENCED_OFF in said:
        return FencedOffError(message)
    if status in (401, 403):
        return ForbiddenError(message, status=status, reason=reason)
    if status in (408, 429) or status >= 500:
        return UnavailableError(message, status=status, reason=reason, retry_after=_retry_after(headers, detail))
    if status == 410:
        return ClusterError(message, status=status, reason=reason)
    return InvalidError(message, status=status, reason=reason)


def _status(body: bytes) -> dict[str, Any]:
    """Return the metav1.Status in an answer; {} when a proxy in between answered with something else."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _retry_after(headers: Mapping[str, str], detail: dict[str, Any]) -> float | None:
    for said in (headers.get("Retry-After"), (detail.get("details") or {}).get("retryAfterSeconds")):
        try:
            if said is not None:
                return min(max(float(said), 0.0), 60.0)
        except (TypeError, ValueError):
            continue
    return None
