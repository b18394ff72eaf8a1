"""A standby hub follows the active one: what is copied, what never is, and when it stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.adapters.kubernetes.rbac import operator_rules
from regent.adapters.kubernetes.standby_rules import standby_rules
from regent.domain.errors import NotFoundError, UnavailableError
from regent.engine.resources import (
    FAILOVER_POLICIES,
    NAMESPACES,
    PLACEMENT_POLICIES,
    REGIONS,
    REPLICATION_POLICIES,
    SECRETS,
)
from tests.fakes.hubs import EU, SYSTEM, US, Hub, region, shop
from tests.fakes.members import FakeMembers

pytestmark = pytest.mark.looptime

A, B = "hub-a", "hub-b"
TERM = 1_000_000
DEPLOY = Path(__file__).parents[4] / "deploy" / "standby"


class Pair:
    """The active hub, whose operator is played by the test, and the standby that follows it."""

    def __init__(self, *, secrets: bool = False) -> None:
        members = FakeMembers()
        self.active = Hub(A, members)
        self.active.put_shop()
        self.standby = Hub(B, members, follows=self.active, secrets=secrets)

    def change(self, **status: Any) -> None:
        """What the active hub decides."""
        before = self.active.policy
        self.active.cluster.put(FAILOVER_POLICIES, {**before, "status": {**before["status"], **status}})


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_everything_is_there_and_nothing_acts(pair: Pair) -> None:
    pair.change(conditions=[{"type": "Ready", "status": "True", "reason": "Watching"}], phase="Steady")
    async with pair.standby.running():
        await asyncio.sleep(3)
        assert pair.standby.find(REGIONS, "", EU)["spec"] == region(EU)["spec"]
        copy = pair.standby.policy
        assert copy["spec"] == shop()["spec"]
        status = copy["status"]
        assert (status["epoch"], status["activeRegion"]) == (8, EU)
        assert [item["reason"] for item in status["conditions"]] == ["HubStandby"]
        assert "phase" not in status
        record = pair.standby.record
        assert (record["role"], record["other"], record["secret"]) == ("Standby", A, f"{SYSTEM}/active-hub")
        assert not pair.standby.leadership.leading
        assert not pair.standby.guard.electing
    assert {verb for verb, *_ in pair.active.cluster.calls} <= {"get", "list", "watch", "ping"}, "it only reads there"


async def test_a_failover_there_is_known_here_at_once_and_idleness_costs_nothing(pair: Pair) -> None:
    async with pair.standby.running():
        await asyncio.sleep(3)
        pair.change(epoch=9, activeRegion=US, active=US, operation={"name": "shop-9", "from": EU, "to": US})
        await asyncio.sleep(0.1)
        status = pair.standby.policy["status"]
        assert (status["epoch"], status["active"], status["operation"]["name"]) == (9, US, "shop-9")
        before = pair.active.policy
        ended = {field: value for field, value in before["status"].items() if field != "operation"}
        pair.active.cluster.put(FAILOVER_POLICIES, {**before, "status": ended})
        await asyncio.sleep(0.1)
        assert "operation" not in pair.standby.policy["status"]
        await asyncio.sleep(2)
        version = pair.standby.cluster.version
        lists = [call for call in pair.active.cluster.calls if call[0] == "list"]
        await asyncio.sleep(200)
        assert pair.standby.cluster.version == version
        assert [call for call in pair.active.cluster.calls if call[0] == "list"] == lists


async def test_a_namespace_that_is_missing_is_made(pair: Pair) -> None:
    pair.standby.cluster.fail("create", NotFoundError("no namespace"), resource=FAILOVER_POLICIES)
    async with pair.standby.running():
        await asyncio.sleep(3)
        assert pair.standby.find(NAMESPACES, "", "shop") is not None
        assert pair.standby.policy is not None


async def test_what_goes_there_goes_here_and_what_is_of_here_stays(pair: Pair) -> None:
    own = {"metadata": {"namespace": "other", "name": "own"}, "spec": {}}
    pair.standby.cluster.put(PLACEMENT_POLICIES, own)
    there = {"metadata": {"namespace": "shop", "name": "rules"}, "spec": {"rules": []}}
    pair.active.cluster.put(PLACEMENT_POLICIES, there)
    async with pair.standby.running():
        await asyncio.sleep(3)
        copy = pair.standby.find(PLACEMENT_POLICIES, "shop", "rules")
        pair.standby.cluster.put(
            PLACEMENT_POLICIES, {**copy, "metadata": {**copy["metadata"], "finalizers": ["regent.dev/run"]}}
        )
        gone = pair.active.find(PLACEMENT_POLICIES, "shop", "rules")
        await pair.active.cluster.delete(PLACEMENT_POLICIES, "shop", "rules", uid=gone["metadata"]["uid"])
        await asyncio.sleep(1)
        assert pair.standby.find(PLACEMENT_POLICIES, "shop", "rules") is None
        assert pair.standby.find(PLACEMENT_POLICIES, "other", "own") is not None


async def test_a_hub_that_has_lost_its_memory_takes_none_from_its_standby(pair: Pair) -> None:
    async with pair.standby.running():
        await asyncio.sleep(3)
        for shelf in pair.active.cluster._objects.values():
            shelf.clear()
        pair.active.cluster.break_watches(UnavailableError("restored", status=410))
        await asyncio.sleep(100)
        assert pair.standby.policy is not None
        assert pair.standby.find(REGIONS, "", EU) is not None


async def test_an_epoch_never_goes_back(pair: Pair) -> None:
    """Fails when a copy that comes late undoes a promotion."""
    async with pair.standby.running():
        await asyncio.sleep(3)
        copy = pair.standby.policy
        pair.standby.cluster.put(
            FAILOVER_POLICIES, {**copy, "status": {**copy["status"], "epoch": TERM, "activeRegion": US}}
        )
        pair.change(epoch=9)
        await asyncio.sleep(100)
        assert (pair.standby.policy["status"]["epoch"], pair.standby.policy["status"]["activeRegion"]) == (TERM, US)
        # Another policy of the same name is another matter.
        again = pair.active.policy
        await pair.active.cluster.delete(FAILOVER_POLICIES, "shop", "shop", uid=again["metadata"]["uid"])
        pair.active.cluster.put(FAILOVER_POLICIES, shop(epoch=1))
        await asyncio.sleep(2)
        assert pair.standby.policy["status"]["epoch"] == 1


@pytest.mark.parametrize("role", ["Promoting", "Active"])
async def test_a_promotion_ends_it(pair: Pair, role: str) -> None:
    async with pair.standby.running():
        await asyncio.sleep(3)
        pair.standby.put_record(role=role, term="1", other=A)
        await asyncio.sleep(2.5)
        pair.change(epoch=9)
        await asyncio.sleep(100)
        assert pair.standby.policy["status"]["epoch"] == 8
        assert pair.standby.guard.acting is (role == "Active")
        assert pair.standby.leadership.leading is (role == "Active")


async def test_an_old_hub_follows_its_successor_when_it_is_told_to(pair: Pair) -> None:
    pair.standby.put_record(role="Superseded", other=A)
    pair.standby.put_shop(epoch=3, active=US)
    pair.change(epoch=TERM)
    async with pair.standby.running():
        await asyncio.sleep(3)
        assert pair.standby.record["role"] == "Standby"
        assert (pair.standby.policy["status"]["epoch"], pair.standby.policy["status"]["activeRegion"]) == (TERM, EU)


async def test_a_hub_does_not_follow_itself(pair: Pair) -> None:
    itself = pair.active.cluster._objects[NAMESPACES]["", "kube-system"]
    itself["metadata"]["uid"] = B
    async with pair.standby.running():
        await asyncio.sleep(20)
        assert pair.standby.record is None
        assert pair.standby.policy is None


async def test_secrets_are_copied_only_when_that_is_asked_for() -> None:
    for asked in (False, True):
        pair = Pair(secrets=asked)
        mine = {"metadata": {"namespace": SYSTEM, "name": US}, "data": {"kubeconfig": "bWluZQ=="}}
        pair.standby.cluster.put(SECRETS, mine)
        for name in (EU, US, "unnamed"):
            theirs = {"metadata": {"namespace": SYSTEM, "name": name}, "type": "Opaque", "data": {"kubeconfig": "eA=="}}
            pair.active.cluster.put(SECRETS, theirs)
        async with pair.standby.running():
            await asyncio.sleep(3)
            copy = pair.standby.find(SECRETS, SYSTEM, EU)
            assert (copy is not None) is asked
            assert pair.standby.find(SECRETS, SYSTEM, US)["data"] == mine["data"], "not a copy: never overwritten"
            assert pair.standby.find(SECRETS, SYSTEM, "unnamed") is None
            if asked:
                rotated = {
                    "metadata": {"namespace": SYSTEM, "name": EU},
                    "type": "Opaque",
                    "data": {"kubeconfig": "eQ=="},
                }
                pair.active.cluster.put(SECRETS, rotated)
                await asyncio.sleep(70)
                assert pair.standby.find(SECRETS, SYSTEM, EU)["data"] == {"kubeconfig": "eQ=="}


VERBS = {"replace": ("update", ""), "replace_status": ("update", "/status")}


def used(hub: Hub) -> set[tuple[str, str]]:
    """What was done in a hub, as (plural with subresource, verb of RBAC)."""
    found = {(resource.plural, *VERBS.get(verb, (verb, ""))) for verb, resource, _, _ in hub.cluster.calls}
    return {(plural + subresource, verb) for plural, verb, subresource in found}


def granted(rules: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (plural, verb)
        for part in rules.values()
        for rule in part
        for plural in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_it_does_what_the_chart_and_the_manifests_allow() -> None:
    """Fails when a call is added that no rule allows."""
    pair = Pair(secrets=True)
    pair.active.cluster.put(SECRETS, {"metadata": {"namespace": SYSTEM, "name": EU}, "data": {"kubeconfig": "eA=="}})
    pair.standby.cluster.fail("create", NotFoundError("no namespace"), resource=FAILOVER_POLICIES)
    async with pair.standby.running():
        await asyncio.sleep(3)
        kinds = {"shop": FAILOVER_POLICIES, "rules": PLACEMENT_POLICIES, "copies": REPLICATION_POLICIES}
        for name, kind in kinds.items():
            for color in ("red", "blue"):
                metadata = {"namespace": "shop", "name": name, "labels": {"color": color}}
                before = pair.active.find(kind, "shop", name) or {"spec": {}}
                pair.active.cluster.put(kind, {**before, "metadata": {**before.get("metadata", {}), **metadata}})
                await asyncio.sleep(1)
            gone = pair.active.find(kind, "shop", name)
            await pair.active.cluster.delete(kind, "shop", name, uid=gone["metadata"]["uid"])
        await asyncio.sleep(2)
    rules = granted(standby_rules())
    assert used(pair.standby) <= rules | granted(operator_rules())
    deleted = {(kind.plural, "delete") for kind in kinds.values()}
    assert deleted <= used(pair.standby)
    documents = [
        document
        for name in ("account.yaml", "secrets.yaml")
        for document in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8"))
    ]
    there = granted({str(index): document.get("rules") or [] for index, document in enumerate(documents)})
    assert {
        need for need in used(pair.active) if need[1] not in ("ping", "delete")
    } <= there  # the deletes are the test's


async def test_that_the_active_hub_is_away_is_measured_and_it_is_caught_up_with(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair.standby.running():
        await asyncio.sleep(5)
        age = pair.standby.metrics.gauges["regent_hub_heard_age_seconds", frozenset()]
        assert age < 5
        pair.active.cluster.down = UnavailableError("gone")
        pair.active.cluster.break_watches(UnavailableError("gone", status=410))
        pair.change(epoch=9)
        await asyncio.sleep(30)
        assert pair.standby.metrics.gauges["regent_hub_heard_age_seconds", frozenset()] > 25
        assert "The active hub does not answer" in caplog.text
        assert pair.standby.policy["status"]["epoch"] == 8
        assert pair.standby.metrics.counted("regent_hub_copies_total", result="ok") >= 3
        pair.active.cluster.down = None
        await asyncio.sleep(30)
        assert pair.standby.policy["status"]["epoch"] == 9
