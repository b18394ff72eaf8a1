"""Notifications: the real engine and the real HTTP adapter, real receivers on loopback; a fake world and its time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from regent.adapters.clock import SystemClock
from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.notifications import HttpEventSender
from regent.adapters.egress.signing import parse_keys
from regent.engine import notifications as module
from regent.engine.notifications import Notifier
from regent.engine.receivers import ReceiverSecrets
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, SECRETS
from tests.fakes.ports import FakeLeadership, FakeMetrics, FakeRecorder
from tests.fakes.receiver import Message, Receiver, check_event, is_signed, nobody
from tests.fakes.wire import response, until
from tests.fakes.world import AP, EU, US, World

KEY = b"note-key-note-key-note-key-note!"


class TellingWorld(World):
    """A world whose notifications go out over HTTP. Booting again is a new process that has told nobody anything."""

    def __init__(self, **kwargs: Any) -> None:
        self.client = GuardedClient(allow_loopback=True)
        self.egress = Egress(self.client, clock=SystemClock(), jitter=lambda: 0.0, metrics=FakeMetrics())
        self.delivering: asyncio.Task[None] | None = None
        super().__init__(**kwargs)

    def boot(self) -> None:
        if self.delivering is not None:
            self.delivering.cancel()
        super().boot()
        self.delivering = asyncio.create_task(self.notifier.run())

    async def close(self) -> None:
        assert self.delivering is not None
        self.delivering.cancel()
        await asyncio.gather(self.delivering, return_exceptions=True)
        self.client.close()

    def announcer(self) -> Notifier:
        secrets = ReceiverSecrets(cluster=self.cluster, parse=parse_keys, clock=SystemClock())
        self.notifier = Notifier(
            HttpEventSender(egress=self.egress, secrets=secrets),
            leadership=self.leadership, clock=self.clock, jitter=lambda: 0.0, recorder=self.recorder,
            metrics=self.metrics,
        )  # fmt: skip
        return self.notifier

    async def told(self) -> None:
        """Wait until everything is delivered or lost."""
        await until(lambda: self.notifier.waiting == 0)

    def counted(self, result: str) -> float:
        return self.metrics.counted("regent_notifications_total", namespace="shop", policy="shop", result=result)


@asynccontextmanager
async def telling(*receivers: dict[str, Any], **spec: Any) -> AsyncIterator[TellingWorld]:
    world = TellingWorld()
    secret = {"metadata": {"namespace": "shop", "name": "note-key"}, "data": {"key": base64.b64encode(KEY).decode()}}
    world.cluster.put(SECRETS, {"apiVersion": "v1", "kind": "Secret", **secret})
    world.furnish(notifications=list(receivers), **spec)
    await world.visit()
    try:
        yield world
    finally:
        await world.close()


def to(url: str, *events: str) -> dict[str, Any]:
    return {"url": url, "secretRef": {"name": "note-key"}, **({"events": list(events)} if events else {})}


def types(messages: list[Message]) -> list[str]:
    return [message.json["type"].removeprefix("dev.regent.failover.") for message in messages]


def person(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "regent.dev/v1alpha1", "kind": "Failover", "metadata": {"namespace": "shop", "name": name},
        "spec": {"policyRef": {"name": "shop"}, "type": "Switchover", "from": EU, **spec},
    }  # fmt: skip


async def test_a_failover_is_told_in_order_as_cloud_events_that_a_library_reads() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        (run,) = world.runs()
    assert types(receiver.messages) == ["started", "completed"]
    for message in receiver.messages:
        assert is_signed(message, KEY)
        check_event(message.json)
        event = from_http_event(HTTPMessage(headers=message.headers, body=message.body))
        assert event.get_specversion() == "1.0"
        assert event.get_id() == message.headers["webhook-id"]
        assert event.get_source() == "/apis/regent.dev/v1alpha1/namespaces/shop/failoverpolicies/shop"
        assert event.get_subject() == run["metadata"]["name"]
        assert event.get_datacontenttype() == "application/json"
        time = event.get_time()
        assert time is not None and abs(time.timestamp() - world.clock.wall()) < 60
    done = receiver.messages[1].json["data"]
    assert (done["from"], done["to"], done["phase"], done["trigger"]) == (EU, US, "Succeeded", "Unreachable")
    assert done["epoch"] == 2 and done["durationMilliseconds"] >= 0
    assert done["policy"]["uid"] and done["run"]["name"] == run["metadata"]["name"]
    assert world.counted("sent") == 2


async def test_nothing_is_told_twice_by_one_process_and_a_new_one_repeats_with_the_same_identifiers() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.visit()
        await world.told()
        first = [message.headers["webhook-id"] for message in receiver.messages]
        assert len(first) == len(set(first)) == 2
        world.boot()
        await world.visit()
        await world.told()
        assert [message.headers["webhook-id"] for message in receiver.messages[2:]] == first
        # What lies back further than the window was told by whoever led then.
        world.boot()
        world.clock.advance(3600.0)
        await world.visit()
        assert world.notifier.waiting == 0


async def test_what_was_not_delivered_before_a_crash_is_delivered_after_it() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        receiver.release.clear()
        world.tracker.down(EU)
        await world.visit()
        await until(lambda: len(receiver.messages) == 1)
        world.boot()  # the process is gone with both messages undelivered
        receiver.messages.clear()
        receiver.release.set()
        await world.visit()
        await world.told()
        assert types(receiver.messages) == ["started", "completed"]


async def test_a_hold_and_what_a_person_can_do_are_told_once_and_again_when_they_come_back() -> None:
    async with Receiver() as receiver, telling(to(receiver.url), mode="Manual") as world:
        for turn in (1, 2):
            world.tracker.down(EU)
            await world.visit()
            world.clock.advance(5.0)
            world.tracker.fresh()
            await world.visit()
            await world.told()
            assert types(receiver.messages[2 * (turn - 1) :]) == ["blocked", "action-required"]
            for message in receiver.messages:
                check_event(message.json)
            world.tracker.up(EU)
            world.clock.advance(30.0)
            world.tracker.fresh()
            await world.visit()
        await world.told()
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 4
    blocked, action = (message.json["data"] for message in receiver.messages[:2])
    assert blocked["reason"] == "ManualMode" and action["reason"] == "ManualMode"
    assert "kubectl create" in action["message"]


async def test_receivers_get_the_events_that_they_asked_for() -> None:
    async with Receiver() as all_of_them, Receiver() as ends:
        async with telling(to(all_of_them.url), to(ends.url, "Completed")) as world:
            world.tracker.down(EU)
            await world.visit()
            await world.told()
        assert types(all_of_them.messages) == ["started", "completed"]
        assert types(ends.messages) == ["completed"]


async def test_a_persons_run_that_cannot_start_is_told_with_its_reason() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(AP)
        world.cluster.put(FAILOVERS, person("by-hand", to=AP))
        await world.visit()
        await world.told()
        assert types(receiver.messages) == ["blocked"]
        data = receiver.messages[0].json["data"]
        assert (data["run"]["name"], data["reason"]) == ("by-hand", "TargetNotEligible")
        assert AP in data["message"]


async def test_a_dry_run_is_no_news() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        world.cluster.put(FAILOVERS, person("dry", to=US, dryRun=True))
        await world.visit()
        await world.told()
        assert receiver.messages == []


async def test_a_receiver_that_recovers_gets_everything_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)

    def answer(message: Message) -> bytes:
        return response(b"", status="503 Busy" if message.number < 4 else "202 Accepted")

    async with Receiver(answer) as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        assert types(receiver.messages) == ["started", "started", "started", "started", "completed"]
        assert world.counted("sent") == 2 and world.counted("lost") == 0


async def test_a_dead_receiver_is_in_nobodys_way_and_its_losses_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    async with Receiver() as receiver:
        with nobody() as url:
            dead = f"{url}/hook?token=S3CRET"
            async with telling(to(dead), to(receiver.url)) as world:
                world.tracker.down(EU)
                await world.visit()
                assert world.weights()[US] == 100
                await until(lambda: len(receiver.messages) == 2)
                assert world.counted("lost") == 0, "there is still time"
                world.clock.advance(601.0)
                await world.told()
                assert (world.counted("sent"), world.counted("lost")) == (2, 2)
                lost = [note for _, kind, reason, note in world.recorder.events if reason == "NotificationLost"]
                assert len(lost) == 2 and "started" in lost[0] and "ConnectFailed" in lost[0]
                assert "S3CRET" not in "".join(lost)


async def test_a_receiver_that_asks_for_time_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for more than there is: it is lost instead of being sent again too soon."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    busy = response(b"", status="429 Slow", headers="Retry-After: 700\r\n")
    async with Receiver(lambda _: busy) as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        assert len(receiver.messages) == 2 and world.counted("lost") == 2


@pytest.mark.parametrize(("status", "tries"), [("410 Gone", 1), ("401 Who", 1)])
async def test_a_refusal_is_not_repeated(status: str, tries: int) -> None:
    async with Receiver(lambda _: response(b"", status=status)) as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        assert len(receiver.messages) == 2 * tries
        assert world.counted("lost") == 2


async def test_an_unreadable_secret_is_said_and_nothing_is_sent_unsigned() -> None:
    async with Receiver() as receiver, telling({**to(receiver.url), "secretRef": {"name": "nope"}}) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        assert receiver.connections == 0
        notes = [note for _, _, reason, note in world.recorder.events if reason == "NotificationLost"]
        assert notes and all("Secret shop/nope does not exist" in note for note in notes)


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        receiver.release.clear()
        world.tracker.down(EU)
        await world.visit()
        assert world.notifier.waiting == 1 and world.counted("lost") == 1
        receiver.release.set()
        await world.told()


async def test_an_old_leader_tells_nothing() -> None:
    async with Receiver() as receiver, telling(to(receiver.url)) as world:
        world.tracker.down(EU)
        await world.visit()
        await world.told()
        late = Notifier(
            HttpEventSender(egress=world.egress, secrets=ReceiverSecrets(
                cluster=world.cluster, parse=parse_keys, clock=SystemClock()
            )),
            leadership=FakeLeadership(leading=False), clock=world.clock, jitter=lambda: 0.0, recorder=FakeRecorder(),
            metrics=FakeMetrics(),
        )  # fmt: skip
        policy = world.store.get(FAILOVER_POLICIES, "shop", "shop")
        assert policy is not None
        spec, _ = world.policies._gathering.parse(policy)
        late.announce(policy, spec, world.runs())
        assert late.waiting == 0
