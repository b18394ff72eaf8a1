"""Errors that cross rings. Adapters translate what libraries raise into these, once; callers match on them."""

from __future__ import annotations


class RegentError(Exception):
    """Base of all errors that Regent raises on purpose."""


class SettingsError(RegentError):
    """Settings, flags or environment are wrong; the message says what to write instead. Exit code 2."""


class LeadershipLostError(RegentError):
    """This replica may no longer write. Exit code 3."""


class ClusterError(RegentError):
    """The API server answered with an error. `status` is the HTTP status, 0 when there was none."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(ClusterError):
    """404: the object does not exist."""


class AlreadyExistsError(ClusterError):
    """409 on create: an object of that name exists."""


class ConflictError(ClusterError):
    """409 on update: somebody wrote since we read. Read again, then decide again."""


class InvalidError(ClusterError):
    """400, 413 or 422: the request will never be accepted as it is."""


class ForbiddenError(ClusterError):
    """401 or 403: our account may not do this."""


class UnavailableError(ClusterError):
    """429, 5xx, time-out or no connection: the same request may work later. The effect may have happened all the
    same, so observe before applying again. `retry_after` is seconds, from the server's answer where it gave one."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after


class FencedOffError(RegentError):
    """The object carries a greater fence than ours: a newer leader or run has been here. Abort, never overwrite."""


class TargetProblemError(RegentError):
    """A traffic target cannot be steered. `reason` is CamelCase, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PromotionProblemError(RegentError):
    """A promotion step cannot be done as it is. `reason` is CamelCase, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReceiverError(RegentError):
    """An HTTP endpoint of the user's could not be called, or what it answered cannot be used.

    `reason` is CamelCase; the message names the endpoint without path and query, which may hold credentials.
    `retryable` tells whether the same call may work later; the request may have arrived all the same. `retry_after` is
    seconds, from the endpoint's answer where it gave one.
    """

    def __init__(self, reason: str, message: str, *, retryable: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after
