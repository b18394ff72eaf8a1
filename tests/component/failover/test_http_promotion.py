"""Runs whose roles are moved by an endpoint of the user's: the real engine, driver and HTTP, a receiver on loopback."""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from regent.adapters.clock import SystemClock
from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.signing import parse_keys
from regent.adapters.promotion.factory import PromotionDrivers
from regent.adapters.promotion.http import http_steps
from regent.engine.receivers import ReceiverSecrets
from regent.engine.resources import SECRETS
from tests.fakes.ports import FakeMetrics
from tests.fakes.promotion_receiver import KEY, Database
from tests.fakes.receiver import Receiver
from tests.fakes.world import AP, EU, US, World


@asynccontextmanager
async def promoting(receiver: Receiver, data: str = "Held", **spec: Any) -> AsyncIterator[World]:
    world, client, count = World(), GuardedClient(allow_loopback=True), itertools.count()
    world.steps = PromotionDrivers(  # type: ignore[assignment]
        http_steps(
            egress=Egress(client, clock=SystemClock(), jitter=lambda: 0.0, metrics=FakeMetrics()),
            secrets=ReceiverSecrets(cluster=world.cluster, parse=parse_keys, clock=SystemClock()),
            nonce=lambda: str(next(count)),
        )
    )
    world.boot()
    secret = {"metadata": {"namespace": "shop", "name": "signing"}, "data": {"key": base64.b64encode(KEY).decode()}}
    world.cluster.put(SECRETS, {"apiVersion": "v1", "kind": "Secret", **secret})
    http = {"url": receiver.url, "secretRef": {"name": "signing"}, "data": data}
    step = {"name": "db", "type": "HTTP", "http": http}
    world.furnish(promotion={"steps": [step]}, **spec)
    await world.visit()
    try:
        yield world
    finally:
        client.close()


async def test_a_planned_move_of_data_stops_the_old_side_and_catches_up_before_it_promotes() -> None:
    database = Database()
    database.behind = 7
    async with Receiver(database) as receiver, promoting(receiver) as world:
        world.ask(to=US)
        await world.visit(times=20)
        assert database.done == [("demote", EU)], "what is behind is not promoted"
        assert world.status()["effective"]["fencing"] == "Required"
        database.behind = 0
        await world.visit(times=40)
        assert world.run()["status"]["phase"] == "Succeeded"
        assert database.done == [("demote", EU), ("promote", US)]
        assert world.weights()[US] == 100 and world.status()["activeRegion"] == US
    changes = [message.json for message in receiver.messages if "fence" in message.json]
    assert {change["fence"].split(".")[0] for change in changes} == {"2"}
    assert {change["run"].rpartition("/")[0] for change in changes} == {"shop/go"}


async def test_a_planned_move_without_data_serves_clients_first() -> None:
    database = Database()
    async with Receiver(database) as receiver, promoting(receiver, data="None") as world:
        world.ask(to=US)
        await world.visit(times=40)
        assert world.run()["status"]["phase"] == "Succeeded"
        assert database.done == [("promote", US), ("demote", EU)]


async def test_an_unreachable_region_is_left_through_the_receiver() -> None:
    database = Database()
    async with Receiver(database) as receiver, promoting(receiver) as world:
        world.tracker.down(EU)
        await world.visit(times=40)
        assert world.runs()[0]["status"]["phase"] == "Succeeded"
        assert database.done == [("demote", EU), ("promote", US)]
        assert world.weights()[US] == 100


async def test_a_receiver_that_refuses_shows_its_words_and_the_old_side_comes_back() -> None:
    database = Database()
    database.broken["promote"] = "licence of us-east-1 has run out"
    async with Receiver(database) as receiver, promoting(receiver, cascade={"maxAttempts": 1}) as world:
        world.ask(to=US)
        await world.visit(times=20)
        world.clock.advance(31)
        world.tracker.fresh()
        await world.visit(times=40)
        status = world.run()["status"]
        assert status["phase"] == "RolledBack"
        assert "licence of us-east-1" in status["attempts"][0]["reason"]
        assert database.roles == {EU: "Active", US: "Standby", AP: "Standby"}
        assert world.weights()[EU] == 100


async def test_a_newer_fence_at_the_receiver_ends_the_run_without_touching_it() -> None:
    database = Database()
    async with Receiver(database) as receiver, promoting(receiver) as world:
        database.fence = (99, 0, 0)
        world.ask(to=US)
        await world.visit(times=40)
        status = world.run()["status"]
        assert status["phase"] == "Superseded" and "99.0.0" in str(status)
        assert database.done == [] and world.weights()[EU] == 100
