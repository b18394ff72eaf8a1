"""Posting to a real receiver: signatures, identifiers, tries, pauses, and how many at a time."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import PER_RECEIVER, Egress
from regent.adapters.egress.signing import parse_keys
from regent.domain.errors import ReceiverError
from regent.engine.receivers import message_id
from tests.fakes.ports import FakeMetrics
from tests.fakes.receiver import Message, Receiver, is_signed, nobody
from tests.fakes.wire import response, until

KEY = b"k" * 32
OLD = b"o" * 24
METRICS = FakeMetrics()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    client = GuardedClient(allow_loopback=True)
    METRICS.counters.clear()
    yield Egress(client, clock=SystemClock(), jitter=lambda: 0.0, metrics=METRICS)
    client.close()


async def test_a_receiver_can_verify_what_it_gets(egress: Egress) -> None:
    async with Receiver() as receiver:
        answer = await egress.post(
            receiver.url, {"a": "ü", "n": 1}, purpose="hook", idempotency_key="msg_1", timeout=5, keys=[KEY, OLD]
        )
    message = receiver.messages[0]
    assert answer.status == 200
    assert message.json == {"a": "ü", "n": 1}
    assert is_signed(message, KEY) and is_signed(message, OLD)
    assert not is_signed(message, b"x" * 32)
    assert not is_signed(message._replace(body=message.body + b" "), KEY)
    assert not is_signed(message._replace(headers=message.headers | {"webhook-id": "msg_2"}), KEY)
    assert message.headers["content-type"] == "application/json"
    assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 5
    assert METRICS.counted("regent_receiver_requests_total", purpose="hook", result="2xx") == 1


async def test_the_known_vector_of_the_specification() -> None:
    """The test vector that libraries of the specification share."""
    from regent.adapters.egress.signing import signed_headers

    keys = parse_keys(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', keys)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_without_a_key_nothing_pretends_to_be_signed(egress: Egress) -> None:
    async with Receiver() as receiver:
        await egress.post(receiver.url, {}, purpose="hook", idempotency_key="msg_1", timeout=5)
    assert "webhook-signature" not in receiver.messages[0].headers
    assert receiver.messages[0].headers["webhook-id"] == "msg_1"


async def test_tries_again_with_the_same_identifier_and_body(egress: Egress) -> None:
    def answer(message: Message) -> bytes:
        return response(b"no", status="500 Oops") if message.number < 3 else response(b"{}")

    async with Receiver(answer) as receiver:
        got = await egress.post(
            receiver.url, {"a": 1}, purpose="hook", idempotency_key="msg_1", timeout=5, keys=[KEY], tries=3
        )
    assert got.status == 200
    assert len(receiver.messages) == 3
    assert {m.headers["webhook-id"] for m in receiver.messages} == {"msg_1"}
    assert {m.body for m in receiver.messages} == {b'{"a":1}'}
    assert all(is_signed(m, KEY) for m in receiver.messages)


@pytest.mark.parametrize(("status", "sent"), [("500 Oops", 2), ("429 Slow", 2), ("404 Gone", 1), ("409 Fence", 1)])
async def test_only_what_may_change_is_tried_again(egress: Egress, status: str, sent: int) -> None:
    async with Receiver(lambda _: response(b"", status=status)) as receiver:
        got = await egress.post(receiver.url, {}, purpose="hook", idempotency_key="m", timeout=5, tries=2)
    assert (got.status, len(receiver.messages)) == (int(status[:3]), sent)


async def test_a_receiver_that_hangs_once_is_tried_again_in_time(egress: Egress) -> None:
    async with Receiver() as receiver:
        receiver.release.clear()
        call = asyncio.create_task(
            egress.post(receiver.url, {}, purpose="hook", idempotency_key="m", timeout=1.0, tries=2)
        )
        await until(lambda: len(receiver.messages) == 2)
        receiver.release.set()
        assert (await call).good


async def test_a_pause_that_leads_past_the_deadline_is_not_begun(egress: Egress) -> None:
    async with Receiver(lambda _: response(b"", status="503 Busy", headers="Retry-After: 60\r\n")) as receiver:
        start = time.monotonic()
        got = await egress.post(receiver.url, {}, purpose="hook", idempotency_key="m", timeout=20.0, tries=2)
        # It asks for a minute, there are twenty seconds: its answer counts at once.
        assert got.status == 503 and len(receiver.messages) == 1
        assert time.monotonic() - start < 10.0


async def test_all_tries_together_stay_within_the_time(egress: Egress) -> None:
    async with Receiver() as receiver:
        receiver.release.clear()
        start = time.monotonic()
        with pytest.raises(ReceiverError) as caught:
            await egress.post(receiver.url, {}, purpose="hook", idempotency_key="m", timeout=0.5, tries=9)
        assert caught.value.reason == "TimedOut"
        assert 0.2 < time.monotonic() - start < 5.0
        receiver.release.set()


async def test_a_dead_receiver_ends_as_its_last_error(egress: Egress) -> None:
    with nobody() as url, pytest.raises(ReceiverError) as caught:
        await egress.post(url, {}, purpose="hook", idempotency_key="m", timeout=10, tries=2)
    assert caught.value.reason == "ConnectFailed"
    assert METRICS.counted("regent_receiver_requests_total", purpose="hook", result="ConnectFailed") == 1


async def test_a_receiver_gets_a_few_requests_at_a_time(egress: Egress) -> None:
    async with Receiver() as receiver, Receiver() as other:
        receiver.release.clear()
        calls = [
            asyncio.create_task(
                egress.post(f"{receiver.url}/{n}", {}, purpose="hook", idempotency_key=f"m{n}", timeout=10)
            )
            for n in range(3 * PER_RECEIVER)
        ]
        await until(lambda: len(receiver.messages) == PER_RECEIVER)
        # The one that hangs stands in nobody else's way.
        assert (await egress.post(other.url, {}, purpose="hook", idempotency_key="m", timeout=5)).good
        receiver.release.set()
        assert all(answer.good for answer in await asyncio.gather(*calls))
        assert receiver.busiest == PER_RECEIVER
    assert len(egress._slots) == 0, "a receiver that nobody calls leaves nothing behind"


async def test_waiting_for_a_slot_counts(egress: Egress) -> None:
    async with Receiver() as receiver:
        receiver.release.clear()
        calls = [
            asyncio.create_task(egress.post(receiver.url, {}, purpose="h", idempotency_key=f"m{n}", timeout=5))
            for n in range(PER_RECEIVER)
        ]
        await until(lambda: len(receiver.messages) == PER_RECEIVER)
        with pytest.raises(ReceiverError) as caught:
            await egress.post(receiver.url, {}, purpose="h", idempotency_key="late", timeout=0.1)
        assert caught.value.reason == "TimedOut"
        receiver.release.set()
        await asyncio.gather(*calls)
        assert len(receiver.messages) == PER_RECEIVER


async def test_too_large_a_message_is_not_sent(egress: Egress) -> None:
    async with Receiver() as receiver:
        with pytest.raises(ReceiverError) as caught:
            await egress.post(receiver.url, {"a": "x" * 300_000}, purpose="h", idempotency_key="m", timeout=5)
        assert caught.value.reason == "RequestTooLarge"
        assert receiver.connections == 0


async def test_an_identifier_cannot_blur_the_signature(egress: Egress) -> None:
    for bad in ("a.b", "", "a\r\nx: y", "x" * 129):
        with pytest.raises(ValueError, match="idempotency key"):
            await egress.post("http://127.0.0.1/", {}, purpose="h", idempotency_key=bad, timeout=5)
    assert message_id("shop", "a") == message_id("shop", "a") != message_id("sho", "pa")


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (b"whsec_" + base64.b64encode(KEY), (KEY,)),
        (b"whsec_" + base64.b64encode(KEY).rstrip(b"=") + b"\n", (KEY,)),
        (b"whsec_" + base64.b64encode(KEY) + b"\nwhsec_" + base64.b64encode(OLD), (KEY, OLD)),
        (KEY + b"\n", (KEY,)),
    ],
)
def test_keys_are_read(value: bytes, keys: tuple[bytes, ...]) -> None:
    assert parse_keys(value) == keys


@pytest.mark.parametrize("value", [b"", b"short", b"whsec_", b"whsec_!!!!", b"whsec_c2hvcnQ=", b"x" * 65])
def test_unusable_keys_are_named_without_their_value(value: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        parse_keys(value)
    assert not value or value.decode() not in str(caught.value)
