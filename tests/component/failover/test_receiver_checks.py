"""Keys of receivers that are missing or forbidden: shown while all is well, and in the way of nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from regent.adapters.egress.signing import parse_keys
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.errors import ForbiddenError, UnavailableError
from regent.engine.receiver_checks import INTERVAL, ReceiverChecks
from regent.engine.receivers import FRESH_FOR, ReceiverSecrets
from regent.engine.resources import FAILOVER_POLICIES, SECRETS
from tests.fakes.wire import until
from tests.fakes.world import EU, US, World

HOOK = {"name": "check", "http": {"url": "https://hooks.test/", "secretRef": {"name": "hook-key"}}}
NOTE = {"url": "https://notes.test/", "secretRef": {"name": "note-key"}}
STEP = {"name": "db", "type": "HTTP", "http": {"url": "https://db.test/", "secretRef": {"name": "db-key"}}}


class CheckedWorld(World):
    def receiver_checks(self) -> ReceiverChecks:
        secrets = ReceiverSecrets(cluster=self.cluster, parse=parse_keys, clock=self.clock)
        self.changes = 0
        self.checks = ReceiverChecks(secrets, clock=self.clock, changed=self._changed)
        return self.checks

    def _changed(self, namespace: str, name: str) -> None:
        assert (namespace, name) == ("shop", "shop")
        self.changes += 1

    def secret(self, name: str, value: bytes) -> None:
        data = {"key": base64.b64encode(value).decode()}
        metadata = {"namespace": "shop", "name": name}
        self.cluster.put(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    async def noticed(self) -> dict[str, Any]:
        """The condition Ready once the checks have said something new."""
        seen = self.changes
        await until(lambda: self.changes > seen)
        await self.visit()
        return self.condition("Ready")


@asynccontextmanager
async def checked(**spec: Any) -> AsyncIterator[CheckedWorld]:
    world = CheckedWorld()
    world.furnish(**spec)
    await world.visit()
    checks = asyncio.create_task(world.checks.run())
    try:
        yield world
    finally:
        checks.cancel()
        await asyncio.gather(checks, return_exceptions=True)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"notifications": [NOTE]}, "notifications[0]: Secret shop/note-key does not exist"),
        ({"hooks": {"beforeFailover": [HOOK]}}, "hook check: Secret shop/hook-key does not exist"),
        ({"promotion": {"steps": [STEP]}}, "promotion step db: Secret shop/db-key does not exist"),
    ],
)
async def test_a_missing_key_is_shown_before_it_is_needed(spec: dict[str, Any], said: str) -> None:
    async with checked(**spec) as world:
        ready = await world.noticed()
        assert (ready["status"], ready["reason"]) == ("False", "SecretNotFound")
        assert said in ready["message"]


async def test_webhook_targets_count_too() -> None:
    async with checked(notifications=[NOTE]) as world:
        await world.noticed()
        world.secret("note-key", b"k" * 32)
        obj = world.store.get(FAILOVER_POLICIES, "shop", "shop")
        assert obj is not None
        spec, targets = policy_spec({**obj, "spec": {**obj["spec"], "targets": [{"webhook": STEP["http"]}]}})
        seen = world.changes
        world.checks.problem(spec, targets)
        await until(lambda: world.changes > seen)
        problem = world.checks.problem(spec, targets)
        assert problem is not None and "Secret shop/db-key does not exist" in problem.message


async def test_it_is_ready_again_when_the_key_is_there() -> None:
    async with checked(notifications=[NOTE]) as world:
        world.secret("note-key", b"short")
        ready = await world.noticed()
        assert ready["reason"] == "SecretInvalid" and "24 to 64 bytes" in ready["message"]
        assert "short" not in ready["message"]
        world.secret("note-key", b"k" * 32)
        world.clock.advance(INTERVAL + FRESH_FOR)
        world.tracker.fresh()
        assert (await world.noticed())["status"] == "True"


async def test_what_is_forbidden_says_how_to_allow_it() -> None:
    world = CheckedWorld()
    world.furnish(notifications=[NOTE])
    world.cluster.fail("get", ForbiddenError("no", status=403))
    await world.visit()
    checks = asyncio.create_task(world.checks.run())
    ready = await world.noticed()
    assert ready["reason"] == "SecretForbidden"
    assert "secretNamespaces" in ready["message"] and "Role" in ready["message"]
    checks.cancel()
    await asyncio.gather(checks, return_exceptions=True)


async def test_an_api_server_that_is_away_says_nothing_about_the_key() -> None:
    async with checked(notifications=[NOTE]) as world:
        await world.noticed()
        world.cluster.fail("get", UnavailableError("away", status=503))
        world.clock.advance(INTERVAL)
        calls = len(world.cluster.calls)
        await until(lambda: len(world.cluster.calls) > calls)
        assert world.condition("Ready")["reason"] == "SecretNotFound"
        assert world.changes == 1


async def test_a_missing_key_does_not_keep_traffic_on_a_dead_region() -> None:
    async with checked(notifications=[NOTE]) as world:
        await world.noticed()
        world.tracker.down(EU)
        await world.visit()
        assert world.weights()[US] == 100
        assert world.condition("Ready")["status"] == "False"


async def test_a_policy_that_is_gone_is_forgotten() -> None:
    async with checked(notifications=[NOTE]) as world:
        await world.noticed()
        obj = world.store.get(FAILOVER_POLICIES, "shop", "shop")
        assert obj is not None
        await world.cluster.delete(FAILOVER_POLICIES, "shop", "shop", uid=obj["metadata"]["uid"])
        await world.visit()
        assert not world.checks._watched
