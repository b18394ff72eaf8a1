"""Notifications over HTTP: CloudEvents in structured mode, signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.egress.client import origin
from regent.adapters.egress.egress import TRY_AGAIN, Egress, retry_after
from regent.adapters.egress.hooks import said
from regent.domain.errors import ReceiverError
from regent.domain.failover.options import HttpReceiver
from regent.engine.cloud_events import CONTENT_TYPE
from regent.engine.receivers import SigningKeys

TIMEOUT = 10.0
"""Seconds for one delivery. A receiver has time to store the event; whoever needs longer should answer first."""


class HttpEventSender:
    """Implements `regent.engine.notifications.EventSender`. Each call is one try; the notifier tries again."""

    def __init__(self, *, egress: Egress, secrets: SigningKeys) -> None:
        self._egress = egress
        self._secrets = secrets

    async def send(self, namespace: str, receiver: HttpReceiver, event: Mapping[str, Any]) -> None:
        """See the port."""
        answer = await self._egress.post(
            receiver.url,
            event,
            purpose="notification",
            idempotency_key=str(event["id"]),
            timeout=TIMEOUT,
            keys=await self._secrets.keys(namespace, receiver),
            headers={"content-type": CONTENT_TYPE},
        )
        if not answer.good:
            words = said(answer)
            message = f"{origin(receiver.url)} answered {answer.status}{': ' + words if words else ''}"
            again = answer.status in TRY_AGAIN
            raise ReceiverError("ReceiverRefused", message, retryable=again, retry_after=retry_after(answer))
