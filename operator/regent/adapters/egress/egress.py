"""JSON to the endpoints of users: signed, tried again, a few at a time for each receiver.

Everything that Regent posts goes through here: promotion steps, hooks, notifications, webhook targets. A message keeps
its identifier and its body through all tries, so that a receiver that has seen the identifier can answer as before;
the time and with it the signature are new for each try.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from regent.adapters.egress.client import Answer, GuardedClient, origin
from regent.adapters.egress.signing import check_id, signed_headers
from regent.domain.errors import ReceiverError
from regent.engine.ports import Clock, Metrics

PER_RECEIVER = 4
"""Requests to one receiver (scheme, host and port) at the same time; others wait within their own time limit."""

MAX_REQUEST = 256 * 1024
"""Bytes of a body that are sent at most."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between tries: doubled each time, spread by half, never shorter than what the receiver asked for."""

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be answered otherwise."""


class Egress:
    """Posts JSON to receivers.

    Args:
        client: sends single requests.
        clock: the time that is signed, and deadlines.
        jitter: 0 ≤ number < 1.
        metrics: where results are counted.
    """

    def __init__(self, client: GuardedClient, *, clock: Clock, jitter: Callable[[], float], metrics: Metrics) -> None:
        self._client = client
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def post(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        purpose: str,
        idempotency_key: str,
        timeout: float,
        keys: Sequence[bytes] = (),
        tries: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post `body` as JSON and return the answer, whatever its status.

        Args:
            url: http or https, without credentials.
            body: what `json.dumps` takes.
            purpose: what it is for, as a label of metrics: `hook`, `notification`, `promotion`, `target`.
            idempotency_key: the header `webhook-id`; see `engine.receivers.message_id`.
            timeout: seconds for everything: waiting for a slot, all tries and the pauses between them.
            keys: signing keys, newest first (`engine.receivers.ReceiverSecrets`); none: not signed.
            tries: how often it is tried at most. It is tried again after a failed connection, a time-out, a broken
                answer and the statuses of `TRY_AGAIN`.
            headers: more of them; `content-type` is application/json unless given here.

        Raises:
            ReceiverError: there was no answer at all to the last try.
        """
        content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        if len(content) > MAX_REQUEST:
            raise ReceiverError("RequestTooLarge", f"the message for {origin(url)} is longer than {MAX_REQUEST} bytes")
        check_id(idempotency_key)
        deadline = self._clock.monotonic() + timeout
        fixed = {"content-type": "application/json", **(headers or {})}

        async def once(seconds: float) -> Answer:
            signed = signed_headers(idempotency_key, int(self._clock.wall()), content, keys)
            return await self._client.request("POST", url, timeout=seconds, headers=fixed | signed, content=content)

        # The semaphore lives as long as somebody uses or waits for it: nothing is kept for receivers of the past.
        slot = self._slots.setdefault(origin(url), asyncio.Semaphore(PER_RECEIVER))
        try:
            async with asyncio.timeout(timeout), slot:
                answer = await self._try(once, tries=tries, deadline=deadline)
        except TimeoutError as error:
            self._count(purpose, "TimedOut")
            message = f"{origin(url)} did not answer within {timeout:.3g} s"
            raise ReceiverError("TimedOut", message, retryable=True) from error
        except ReceiverError as error:
            self._count(purpose, error.reason)
            raise
        self._count(purpose, f"{answer.status // 100}xx")
        return answer

    async def _try(self, once: Callable[[float], Any], *, tries: int, deadline: float) -> Answer:
        """Try until it is answered for good, or tries or time are used up; the last outcome counts."""
        number = 0
        while True:
            number += 1
            left = deadline - self._clock.monotonic()
            # A try that hangs leaves its share of the time to those that come after it.
            share = left / (tries - number + 1)
            outcome: Answer | ReceiverError
            try:
                outcome = await once(share)
            except ReceiverError as error:
                outcome = error
            pause = self._pause(number, outcome)
            if number >= tries or pause is None or pause >= deadline - self._clock.monotonic():
                break
            await asyncio.sleep(pause)
        if isinstance(outcome, ReceiverError):
            raise outcome
        return outcome

    def _pause(self, number: int, outcome: Answer | ReceiverError) -> float | None:
        """Return seconds to wait before the next try; None: trying again is useless."""
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (number - 1)) * (0.5 + self._jitter())
        if isinstance(outcome, ReceiverError):
            return pause if outcome.retryable else None
        if outcome.status not in TRY_AGAIN:
            return None
        return max(pause, retry_after(outcome))

    def _count(self, purpose: str, result: str) -> None:
        self._metrics.count("regent_receiver_requests_total", purpose=purpose, result=result)


def retry_after(answer: Answer) -> float:
    """Seconds that the receiver asks to be left alone, 0 when it does not say (dates are not read)."""
    text = answer.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
