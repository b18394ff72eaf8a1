"""Secrets between two regions in memory: copied and compared as other objects are, and kept nowhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError, UnavailableError
from regent.engine.replication.reflection import BodyMissingError
from regent.engine.resources import SECRETS
from tests.fakes.copying import EU, SHOP, US, CopyWorld

pytestmark = pytest.mark.looptime


class Keys(CopyWorld):
    """A policy that copies Secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.policy(resources=[{"category": "Config", "includeSecrets": True, "kinds": [{"kind": "Secret"}]}])

    def secret(self, region: str, name: str, value: str, **metadata: Any) -> None:
        old = self.clusters[region]._objects.get(SECRETS, {}).get((SHOP, name), {}).get("metadata", {})
        kept = {field: old[field] for field in ("labels", "annotations") if field in old}
        wanted = {"namespace": SHOP, "name": name, **kept, **metadata}
        self.clusters[region].put(SECRETS, {"metadata": wanted, "type": "Opaque", "data": {"key": value}})

    def value(self, region: str, name: str) -> Any:
        found = self.clusters[region]._objects.get(SECRETS, {}).get((SHOP, name))
        return None if found is None else found["data"]["key"]

    def asked(self, region: str) -> int:
        return sum(1 for verb, resource, *_ in self.clusters[region].calls if (verb, resource) == ("get", SECRETS))

    def kept(self) -> list[str]:
        """Names of Secrets whose bodies are in memory now."""
        found = []
        for item in self.target.link.tracked.values():
            for reflection in (item.source, item.target):
                for name in reflection.names():
                    try:
                        reflection.get(name)
                    except BodyMissingError:
                        continue
                    found.append(f"{reflection.region}/{name[1]}")
        return found


async def test_secrets_are_copied_and_their_bodies_are_not_kept() -> None:
    world = Keys()
    for number in range(5):
        world.secret(EU, f"key-{number}", f"old-{number}")
    async with world.running():
        await asyncio.sleep(5)
        assert [world.value(US, f"key-{number}") for number in range(5)] == [f"old-{number}" for number in range(5)]
        assert world.status["state"] == "InSync"
        assert world.kept() == []
        world.secret(EU, "key-3", "new")
        await asyncio.sleep(2)
        assert world.value(US, "key-3") == "new"
        assert world.kept() == []


async def test_a_secret_that_is_edited_in_the_target_is_put_right() -> None:
    world = Keys()
    world.secret(EU, "key", "right")
    async with world.running():
        await asyncio.sleep(5)
        world.secret(US, "key", "wrong")
        await asyncio.sleep(2)
        assert world.value(US, "key") == "right"
        assert world.status["state"] == "InSync"


async def test_quiet_secrets_are_not_asked_for() -> None:
    """Fails when verification, or looking at everything anew, fetches bodies although nothing has changed."""
    world = Keys()
    world.secret(EU, "key", "value")
    async with world.running():
        await asyncio.sleep(5)
        before = world.asked(EU), world.asked(US)
        assert before[0] <= 1
        world.target.link.look_at_everything()
        await asyncio.sleep(1500)
        assert world.target.verified_at is not None
        assert (world.asked(EU), world.asked(US)) == before


async def test_a_body_that_cannot_be_fetched_now_is_fetched_later() -> None:
    world = Keys()
    world.clusters[EU].fail("get", UnavailableError("no route", reason="NoConnection"), resource=SECRETS, times=3)
    world.secret(EU, "key", "value")
    async with world.running():
        await asyncio.sleep(20)
        assert world.value(US, "key") == "value"
        assert world.status["state"] == "InSync"


async def test_a_body_that_must_not_be_read_is_shown_and_holds_up_no_other() -> None:
    world = Keys()
    get = world.clusters[EU].get

    async def choosy(resource: Any, namespace: str, name: str) -> Any:
        if name == "closed":
            raise ForbiddenError("secrets is forbidden", status=403)
        return await get(resource, namespace, name)

    world.clusters[EU].get = choosy  # type: ignore[method-assign]
    world.secret(EU, "closed", "value")
    world.secret(EU, "open", "value")
    async with world.running():
        await asyncio.sleep(10)
        assert world.value(US, "open") == "value"
        assert world.value(US, "closed") is None
        assert any("closed" in text and "forbidden" in text for text in world.status["targets"][0]["errors"])


async def test_a_secret_that_is_not_selected_is_never_fetched() -> None:
    world = Keys()
    world.policy(
        resources=[{"category": "Config", "includeSecrets": True, "kinds": [{"kind": "Secret"}], "names": ["key"]}]
    )
    world.secret(EU, "key", "value")
    world.secret(EU, "other", "value")
    async with world.running():
        await asyncio.sleep(5)
        assert world.value(US, "key") == "value"
        assert world.value(US, "other") is None
        fetched = [name for verb, resource, _, name in world.clusters[EU].calls if (verb, resource) == ("get", SECRETS)]
        assert "other" not in fetched
