"""PlacementPolicies and copies: what a rule selects by labels is the object, or the policy that would copy it."""

from __future__ import annotations

import asyncio

import pytest

from regent.engine.resources import PLACEMENT_POLICIES, REPLICATION_POLICIES
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld

pytestmark = pytest.mark.looptime


async def test_a_rule_that_selects_the_policy_refuses_all_that_it_copies() -> None:
    """Fails when a policy that a rule selects by its labels still copies what has no labels, or says nothing of it."""
    world = CopyWorld()
    world.put(EU, "one")
    rule = {"selector": {"matchLabels": {"data": "personal"}}, "allowedRegions": [EU]}
    world.hub.put(PLACEMENT_POLICIES, {"metadata": {"namespace": SHOP, "name": "home"}, "spec": rule})
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        assert world.data(US, "one") is not None, "neither it nor the object is meant"
        policy = clone(world.store.get(REPLICATION_POLICIES, SHOP, "shop"))
        policy["metadata"]["labels"] = {"data": "personal"}
        world.hub.put(REPLICATION_POLICIES, policy)
        await asyncio.sleep(5)
        world.put(EU, "two")
        await asyncio.sleep(5)
        assert world.data(US, "two") is None
        ready = {item["type"]: item for item in world.status["conditions"]}["Ready"]
        assert (ready["status"], ready["reason"]) == ("False", "PlacementDenied")
        assert "PlacementPolicy home: it is not in allowedRegions" in ready["message"]
        events = [event for event in world.recorder.events if "PlacementDenied" in str(event)]
        assert events, "the refusal is told as an event too"
