"""HTTP answers become the errors that callers match on."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from regent.adapters.kubernetes.errors import refused, unreachable
from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    FencedOffError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from regent.engine.resources import REGIONS, SECRETS


def answer(status: int, body: Any = None, resource: Any = REGIONS, **headers: str) -> ClusterError:
    raw = body if isinstance(body, bytes) else json.dumps({"kind": "Status", **(body or {})}).encode()
    found = refused("get Region a", resource, status, {name.replace("_", "-"): v for name, v in headers.items()}, raw)
    assert isinstance(found, ClusterError)
    return found


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", InvalidError),
        (401, "Unauthorized", ForbiddenError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (405, "MethodNotAllowed", InvalidError),
        (408, "", UnavailableError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (409, "", ConflictError),
        (410, "Expired", ClusterError),
        (413, "RequestEntityTooLarge", InvalidError),
        (422, "Invalid", InvalidError),
        (429, "TooManyRequests", UnavailableError),
        (500, "InternalError", UnavailableError),
        (503, "ServiceUnavailable", UnavailableError),
        (504, "Timeout", UnavailableError),
    ],
)
def test_status_to_error(status: int, reason: str, kind: type[ClusterError]) -> None:
    error = answer(status, {"reason": reason, "message": "words"})
    assert type(error) is kind
    assert (error.status, error.reason) == (status, reason)
    assert "words" in str(error)


def test_retry_after_from_header_or_body_and_bounded() -> None:
    def wait(error: ClusterError) -> float | None:
        assert isinstance(error, UnavailableError)
        return error.retry_after

    assert wait(answer(429, Retry_After="7")) == 7
    assert wait(answer(429, {"details": {"retryAfterSeconds": 3}})) == 3
    assert wait(answer(503, Retry_After="86400")) == 60
    assert wait(answer(503, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")) is None
    assert wait(answer(503)) is None


def test_an_answer_of_a_proxy_is_no_status() -> None:
    error = answer(502, b"<html>secret path</html>")
    assert isinstance(error, UnavailableError)
    assert str(error) == "get Region a: HTTP 502"
    assert str(answer(404, b'["odd"]')) == "get Region a: HTTP 404"


def test_the_words_about_secrets_are_not_repeated_and_long_ones_are_cut() -> None:
    assert "hunter2" not in str(answer(422, {"reason": "Invalid", "message": "bad value hunter2"}, SECRETS))
    assert len(str(answer(422, {"message": "x" * 10_000}))) <= 1024


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "Timeout"),
        (aiohttp.ServerDisconnectedError(), "NoConnection"),
        (aiohttp.ServerTimeoutError(), "Timeout"),
        (ConnectionResetError(), "NoConnection"),
        (ValueError("cut short"), "NoConnection"),
    ],
)
def test_no_answer_is_unavailable(error: Exception, reason: str) -> None:
    assert unreachable("get Region a", error).reason == reason


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ValidatingAdmissionPolicy 'regent-fence' denied request: fenced off: 7.1.2 after 7.1.3", FencedOffError),
        ("ValidatingAdmissionPolicy 'of-others' denied request: no", ForbiddenError),
        ('failovers.regent.dev "fenced off: x" is forbidden: User "regent" cannot update', ForbiddenError),
    ],
)
def test_a_lower_fence_is_not_a_missing_right(said: str, kind: type[Exception]) -> None:
    body = json.dumps({"kind": "Status", "message": said, "reason": "Forbidden"}).encode()
    assert type(refused("put ConfigMap a", REGIONS, 403, {}, body)) is kind
