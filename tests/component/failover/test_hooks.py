"""Hooks before a failover: the real engine and the real HTTP adapter, a real receiver on loopback, fake world."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from regent.adapters.clock import SystemClock
from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.hooks import HttpHooks
from regent.adapters.egress.signing import parse_keys
from regent.engine.hooks import HookCalls
from regent.engine.receivers import ReceiverSecrets
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, SECRETS
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics
from tests.fakes.receiver import Message, Receiver, check_event, is_signed
from tests.fakes.wire import response, until
from tests.fakes.world import EU, US, World, policy

KEY = b"hook-key-hook-key-hook-key-hook!"
Answer = Callable[[Message], bytes]


class HookedWorld(World):
    """A world whose hooks go out over HTTP. Booting again is a new process: calls in flight are forgotten."""

    def __init__(self, **kwargs: Any) -> None:
        self.client = GuardedClient(allow_loopback=True)
        self.egress = Egress(self.client, clock=SystemClock(), jitter=random.random, metrics=FakeMetrics())
        self.answers = 0
        super().__init__(**kwargs)

    def hooks(self) -> HookCalls:
        secrets = ReceiverSecrets(cluster=self.cluster, parse=parse_keys, clock=SystemClock())
        http = HttpHooks(egress=self.egress, secrets=secrets, clock=SystemClock())
        self.calls = HookCalls(http, answered=self._answered)
        return self.calls

    def _answered(self, namespace: str, name: str) -> None:
        assert (namespace, name) == ("shop", "shop")
        self.answers += 1

    async def settle(self) -> None:
        """Let the hooks that are being asked answer, and visit again as the wake-up would."""
        seen = self.answers
        await self.visit(times=2)
        await until(lambda: self.answers > seen)
        await self.visit()


def hook(url: str, *, name: str = "check", on_error: str = "Abort", timeout: str = "5s") -> dict[str, Any]:
    return {
        "name": name, "http": {"url": url, "secretRef": {"name": "hook-key"}}, "timeout": timeout, "onError": on_error
    }  # fmt: skip


@asynccontextmanager
async def hooked(*hooks: dict[str, Any], **spec: Any) -> AsyncIterator[HookedWorld]:
    world = HookedWorld()
    secret = {"metadata": {"namespace": "shop", "name": "hook-key"}, "data": {"key": base64.b64encode(KEY).decode()}}
    world.cluster.put(SECRETS, {"apiVersion": "v1", "kind": "Secret", **secret})
    world.furnish(hooks={"beforeFailover": list(hooks)}, **spec)
    await world.visit()
    calls = asyncio.create_task(world.calls.run())
    try:
        yield world
    finally:
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)
        world.client.close()


async def test_a_hook_that_agrees_lets_the_failover_go_and_knows_what_it_agreed_to() -> None:
    async with (
        Receiver(lambda _: response(b'{"message": "go ahead"}')) as receiver,
        hooked(hook(f"{receiver.url}/check")) as world,
    ):
        world.tracker.down(EU)
        await world.settle()
        assert world.weights()[US] == 100
        (run,) = world.runs()
        assert run["status"]["phase"] == "Succeeded"
        assert [(row["name"], row["result"], row["message"]) for row in run["status"]["hooks"]] == [
            ("check", "Passed", "go ahead")
        ]
        (message,) = receiver.messages
    assert is_signed(message, KEY)
    assert message.headers["content-type"].startswith("application/cloudevents+json")
    event = message.json
    check_event(event)
    assert event["id"] == message.headers["webhook-id"]
    assert (event["specversion"], event["type"]) == ("1.0", "dev.regent.failover.before")
    assert event["source"].endswith("/namespaces/shop/failoverpolicies/shop")
    assert event["subject"] == event["data"]["run"]["name"] == run["metadata"]["name"]
    assert (event["data"]["from"], event["data"]["to"], event["data"]["trigger"]) == (EU, US, "Unreachable")
    assert event["data"]["after"] == [
        {"region": name, "weightPercent": 100 * (name == US)} for name in (EU, US, "ap-south-1")
    ]


async def test_a_veto_blocks_the_run_with_the_receivers_words_until_it_is_lifted() -> None:
    allowed = asyncio.Event()

    def answer(_: Message) -> bytes:
        if allowed.is_set():
            return response(b"")
        return response(b'{"message": "month-end\\nclosing"}', status="423 Locked")

    async with Receiver(answer) as receiver, hooked(hook(receiver.url, name="finance")) as world:
        world.tracker.down(EU)
        await world.settle()
        (run,) = world.runs()
        ready = next(item for item in run["status"]["conditions"] if item["type"] == "Ready")
        assert (run["status"]["phase"], ready["reason"]) == ("Blocked", "VetoedByHook")
        assert "finance" in ready["message"] and "month-end closing" in ready["message"]
        assert world.weights()[EU] == 100 and world.status()["epoch"] == 1
        required = world.condition("ActionRequired")
        assert required["status"] == "True" and "finance" in required["message"]
        writes = len(world.cluster.writes)
        await world.visit()
        await world.visit()
        assert len(world.cluster.writes) == writes, "a standing veto is not written again"
        assert len(receiver.messages) == 1, "and not asked about again at once"

        allowed.set()
        world.clock.advance(10.0)
        world.tracker.fresh()
        await world.settle()
        assert world.weights()[US] == 100
        assert [run["status"]["phase"] for run in world.runs()] == ["Succeeded"]
        assert len({message.headers["webhook-id"] for message in receiver.messages}) == 2
        assert world.condition("ActionRequired")["status"] == "False"


async def test_without_abort_a_bad_answer_is_noted_and_the_failover_goes_on() -> None:
    async with (
        Receiver(lambda _: response(b"<h1>oops</h1>", status="500 Oops")) as receiver,
        hooked(hook(receiver.url, on_error="Continue")) as world,
    ):
        world.tracker.down(EU)
        await world.settle()
        assert world.weights()[US] == 100
        (row,) = world.runs()[0]["status"]["hooks"]
        assert row["result"] == "Failed" and "500" in row["message"] and "oops" in row["message"]


async def test_hooks_are_called_in_order_and_none_after_a_veto() -> None:
    order: list[str] = []

    def answer(message: Message) -> bytes:
        order.append(message.json["data"]["hook"])
        return response(b"", status="200 OK" if message.json["data"]["hook"] != "b" else "403 No")

    async with Receiver(answer) as receiver:
        hooks = [hook(receiver.url, name=name) for name in ("a", "b", "c")]
        async with hooked(*hooks) as world:
            world.tracker.down(EU)
            await world.settle()
            assert order == ["a", "b"]
            rows = world.runs()[0]["status"]["hooks"]
            assert [(row["name"], row["result"]) for row in rows] == [("a", "Passed"), ("b", "Vetoed")]


async def test_a_hook_that_hangs_costs_its_own_timeout_and_no_visit_waits_for_it() -> None:
    async with Receiver() as receiver, hooked(hook(receiver.url, on_error="Continue", timeout="300ms")) as world:
        receiver.release.clear()
        world.tracker.down(EU)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await world.visit(times=2)
        assert loop.time() - start < 0.25, "the visit went on without the answer"
        assert world.weights()[EU] == 100
        await until(lambda: world.answers == 1)
        assert loop.time() - start < 2.0
        await world.visit()
        assert world.weights()[US] == 100
        assert "TimedOut" in world.runs()[0]["status"]["hooks"][0]["message"]
        receiver.release.set()


async def test_a_hook_of_a_persons_run_never_delays_an_automatic_failover() -> None:
    def answer(message: Message) -> bytes:
        return response(b"", status="403 No" if message.json["data"]["trigger"] == "Manual" else "200 OK")

    async with Receiver(answer) as receiver, hooked(hook(receiver.url)) as world:
        spec = {"policyRef": {"name": "shop"}, "type": "Switchover", "from": EU, "to": "ap-south-1"}
        world.cluster.put(
            FAILOVERS,
            {"apiVersion": "regent.dev/v1alpha1", "kind": "Failover",
             "metadata": {"namespace": "shop", "name": "by-hand"}, "spec": spec},
        )  # fmt: skip
        await world.settle()
        assert world.runs()[0]["status"]["phase"] == "Blocked"
        world.tracker.down(EU)
        await world.settle()
        assert world.weights()[US] == 100
        await world.visit()
        assert {run["metadata"]["name"]: run["status"]["phase"] for run in world.runs()} == {
            "by-hand": "Superseded", "shop-1": "Succeeded"
        }  # fmt: skip


async def test_a_trigger_that_goes_away_while_a_hook_is_asked_ends_the_run() -> None:
    async with Receiver() as receiver, hooked(hook(receiver.url)) as world:
        receiver.release.clear()
        world.tracker.down(EU)
        await world.visit(times=2)
        await until(lambda: len(receiver.messages) == 1)
        world.tracker.up(EU)
        await world.visit()
        assert [run["status"]["phase"] for run in world.runs()] == ["NotNeeded"]
        receiver.release.set()
        await until(lambda: world.answers == 1)
        await world.visit()
        assert world.weights()[EU] == 100


async def test_the_next_leader_asks_the_same_question_as_the_same_message() -> None:
    async with Receiver() as receiver, hooked(hook(receiver.url)) as world:
        receiver.release.clear()
        world.tracker.down(EU)
        await world.visit(times=2)
        await until(lambda: len(receiver.messages) == 1)
        world.boot()
        calls = asyncio.create_task(world.calls.run())
        await world.visit(times=2)
        await until(lambda: len(receiver.messages) == 2)
        receiver.release.set()
        await until(lambda: world.answers == 2)
        await world.visit()
        assert world.weights()[US] == 100
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1


async def test_what_cannot_be_signed_is_not_sent() -> None:
    async with Receiver() as receiver, hooked(hook(receiver.url)) as world:
        await world.cluster.delete(
            SECRETS, "shop", "hook-key", uid=(await world.cluster.get(SECRETS, "shop", "hook-key"))["metadata"]["uid"]
        )
        world.tracker.down(EU)
        await world.settle()
        (row,) = world.runs()[0]["status"]["hooks"]
        assert row["result"] == "Vetoed" and "SecretNotFound" in row["message"]
        assert receiver.connections == 0


async def test_a_dry_run_asks_nobody() -> None:
    async with Receiver() as receiver, hooked(hook(receiver.url)) as world:
        spec = {"policyRef": {"name": "shop"}, "type": "Switchover", "from": EU, "to": US, "dryRun": True}
        world.cluster.put(
            FAILOVERS,
            {"apiVersion": "regent.dev/v1alpha1", "kind": "Failover", "metadata": {"namespace": "shop", "name": "dry"},
             "spec": spec},
        )  # fmt: skip
        await world.visit()
        assert world.runs()[0]["status"]["phase"] == "Succeeded"
        assert receiver.connections == 0


async def test_a_process_that_cannot_call_hooks_does_not_act_as_if_it_had() -> None:
    world = World(cluster=FakeCluster())
    world.furnish()
    world.cluster.put(FAILOVER_POLICIES, policy(hooks={"beforeFailover": [hook("http://receiver.test/")]}))
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.weights()[EU] == 100
    assert "cannot call the hooks" in world.condition("ActionRequired")["message"]
