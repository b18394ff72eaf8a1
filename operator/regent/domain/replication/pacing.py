"""How fast a target is written to: concurrency that adapts, a token bucket, and back-off for each object.

State machines without a clock: `now` (monotonic seconds) and what was drawn by lot come in, the next state comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0
PERMANENT_BACKOFF = 600.0
"""Between two tries of an object that the API server has called invalid: only a change of it or of the server's rules
can help, and the latter cannot be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many requests may be under way: halved when the server is busy, one more for each clean second.

    At most halved once a second: answers to requests that were sent together tell of one overload, not of many.
    """

    limit: float = 8.0
    maximum: int = 32
    grown_at: float = 0.0
    """When the limit last changed."""
    paused_until: float = 0.0
    """The server named a time before which it wants to hear nothing."""

    @property
    def allowed(self) -> int:
        """Requests that may be under way."""
        return max(1, int(self.limit))

    def busy(self, now: float, *, retry_after: float = 0.0) -> Concurrency:
        """After 429, 5xx or a time-out; `retry_after`: seconds that the server asked for."""
        paused = max(self.paused_until, now + min(max(retry_after, 0.0), BACKOFF_CAP))
        if now - self.grown_at < 1.0 and self.paused_until > 0.0:
            return replace(self, paused_until=paused)
        return replace(self, limit=max(1.0, self.limit / 2), grown_at=now, paused_until=paused)

    def clean(self, now: float) -> Concurrency:
        """After a request that the server answered as usual."""
        if now - self.grown_at < 1.0 or now < self.paused_until:
            return self
        return replace(self, limit=min(float(self.maximum), self.limit + 1), grown_at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """At most `rate` requests a second on average, and `burst` at once."""

    rate: float
    burst: float
    tokens: float
    at: float = 0.0

    @classmethod
    def full(cls, *, rate: float, burst: float, now: float) -> TokenBucket:
        """Return a bucket that has all its tokens."""
        return cls(rate=rate, burst=burst, tokens=burst, at=now)

    def take(self, now: float, *, count: float = 1.0) -> tuple[TokenBucket, float]:
        """Take tokens; return the bucket after it and the seconds to wait before the request may be sent.

        Tokens are lent: the next one waits for those that were taken before, so that nobody is passed over.
        """
        passed = max(0.0, now - self.at)
        tokens = min(self.burst, self.tokens + passed * self.rate) - count
        return replace(self, tokens=tokens, at=max(now, self.at)), max(0.0, -tokens / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """When an object that failed may be tried again."""

    failures: int = 0
    until: float = 0.0
    content_hash: str = ""
    """What failed: other content is tried at once."""

    def failed(
        self, now: float, *, lot: float, content_hash: str = "", permanent: bool = False, retry_after: float = 0.0
    ) -> Backoff:
        """After a failure.

        Args:
            now: monotonic seconds.
            lot: between 0 and 1, drawn anew each time: objects that failed together are not tried together.
            content_hash: of what was sent.
            permanent: the server will never take it as it is.
            retry_after: seconds that the server asked for.
        """
        failures = self.failures + 1
        wait = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 30))
        if permanent:
            wait = PERMANENT_BACKOFF
        wait = max(wait * (0.5 + 0.5 * min(max(lot, 0.0), 1.0)), min(max(retry_after, 0.0), BACKOFF_CAP))
        return Backoff(failures=failures, until=now + wait, content_hash=content_hash)

    def due(self, now: float, *, content_hash: str = "") -> bool:
        """Whether the object may be tried: its time has come, or it is not what failed any more."""
        changed = bool(content_hash) and bool(self.content_hash) and content_hash != self.content_hash
        return changed or now >= self.until
