"""Tells receivers of the user's what happens to a policy: in the background, in order, never in the way.

Messages to one receiver of a policy go one after the other, so that the end of a run is not told before its start; a
receiver that is away holds up only its own. What cannot be delivered for `GIVE_UP` seconds is lost, and that is counted
and shown as an event of the policy. Delivery is at least once: a successor repeats what is recent, with the same
identifiers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from regent.domain.errors import ReceiverError
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import HttpReceiver
from regent.engine.announcements import announcements
from regent.engine.cloud_events import cloud_event
from regent.engine.ports import Clock, Leadership, Metrics, Object, Recorder

log = logging.getLogger("regent.notifications")

GIVE_UP = 600.0
"""Seconds for which a message is tried."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries: doubled each time and spread by half."""

MAX_WAITING = 2000
"""Messages that wait at most, for all receivers together."""

MAX_KNOWN = 20_000
"""Messages that are remembered as told."""

SENDING = 32
"""Messages that are on their way at the same time."""


class Announcer(Protocol):
    """Hears of every visit of a policy."""

    def announce(self, policy: Object, spec: PolicySpec, runs: Sequence[Object]) -> None:
        """Tell receivers what is new. Neither waits nor raises."""
        ...


class NoAnnouncer:
    """Tells nobody."""

    def announce(self, policy: Object, spec: PolicySpec, runs: Sequence[Object]) -> None:
        """See the port."""


class EventSender(Protocol):
    """Delivers one event."""

    async def send(self, namespace: str, receiver: HttpReceiver, event: Mapping[str, Any]) -> None:
        """Post `event` (a CloudEvent as JSON; its `id` identifies the message) for a policy in `namespace`.

        Raises:
            ReceiverError: it was not taken. `retryable`: it may be, later.
        """
        ...


class _Lane(NamedTuple):
    """Whom it goes to, on whose behalf: one after the other."""

    policy_uid: str
    receiver: HttpReceiver


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    policy: Object
    event: Mapping[str, Any]
    deadline: float


class Notifier:
    """Implements `Announcer`. `run` is supervised; until it runs, messages wait."""

    def __init__(
        self,
        sender: EventSender,
        *,
        leadership: Leadership,
        clock: Clock,
        jitter: Callable[[], float],
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self._sender = sender
        self._leadership = leadership
        self._clock = clock
        self._jitter = jitter
        self._recorder = recorder
        self._metrics = metrics
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lanes: dict[_Lane, deque[_Message]] = {}
        self._new: asyncio.Queue[_Lane] = asyncio.Queue()
        self._sending = asyncio.Semaphore(SENDING)

    @property
    def waiting(self) -> int:
        """Messages that are not delivered yet."""
        return sum(map(len, self._lanes.values()))

    def announce(self, policy: Object, spec: PolicySpec, runs: Sequence[Object]) -> None:
        """See the port."""
        receivers = spec.options.notifications
        # An old leader that has not noticed yet says nothing: what it believes may not be so any more.
        if not receivers or not self._leadership.leading:
            return
        for item in announcements(policy, spec, runs, now=self._clock.wall()):
            for notification in receivers:
                if item.kind.value in notification.events and self._is_new(item.identifier, notification.receiver):
                    event = cloud_event(
                        item.kind.type,
                        spec,
                        identifier=item.identifier,
                        subject=item.subject,
                        time=item.time,
                        data=item.data,
                    )
                    self._put(_Lane(spec.uid, notification.receiver), policy, event)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                lane = await self._new.get()
                group.create_task(self._drain(lane))

    def _is_new(self, identifier: str, receiver: HttpReceiver) -> bool:
        key = (identifier, receiver.url)
        if key in self._told:
            self._told.move_to_end(key)
            return False
        self._told[key] = None
        while len(self._told) > MAX_KNOWN:
            self._told.popitem(last=False)
        return True

    def _put(self, lane: _Lane, policy: Object, event: Mapping[str, Any]) -> None:
        message = _Message(policy=policy, event=event, deadline=self._clock.monotonic() + GIVE_UP)
        if self.waiting >= MAX_WAITING:
            self._lost(message, f"{MAX_WAITING} messages wait already")
            return
        if lane in self._lanes:
            self._lanes[lane].append(message)
        else:
            self._lanes[lane] = deque([message])
            self._new.put_nowait(lane)

    async def _drain(self, lane: _Lane) -> None:
        messages = self._lanes[lane]
        while messages:
            await self._deliver(lane, messages[0])
            messages.popleft()
        del self._lanes[lane]

    async def _deliver(self, lane: _Lane, message: _Message) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._sending:
                    await self._sender.send(message.policy["metadata"]["namespace"], lane.receiver, message.event)
            except ReceiverError as error:
                wait = max(pause * (0.5 + self._jitter()), error.retry_after)
                if not error.retryable or self._clock.monotonic() + wait > message.deadline:
                    self._lost(message, f"{error.reason}: {error}")
                    return
            except Exception:
                log.exception("A notification cannot be sent")
                self._lost(message, "the operator failed to send it; see its log")
                return
            else:
                self._count(message, "sent")
                return
            await asyncio.sleep(wait)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _lost(self, message: _Message, why: str) -> None:
        self._count(message, "lost")
        note = f"{message.event['type']} about {message.event['subject']} was not delivered: {why}"
        log.warning("Notification lost: %s", note)
        self._recorder.event(
            message.policy, kind="Warning", reason="NotificationLost", action="Notify", note=note[:1024]
        )

    def _count(self, message: _Message, result: str) -> None:
        metadata = message.policy["metadata"]
        self._metrics.count(
            "regent_notifications_total", namespace=metadata["namespace"], policy=metadata["name"], result=result
        )
