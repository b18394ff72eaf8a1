"""`regent hub promote` and `status`: what a standby takes over, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.hub import COPIED, COPIED_UID, TERM
from regent.engine.hub_epochs import HUB_ANNOTATION, TERM_ANNOTATION
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES, LEASES, NAMESPACES, REGIONS, SECRETS
from tests.fakes.cli import CommandLine, put_shop
from tests.fakes.cluster import FakeCluster
from tests.fakes.members import FakeMembers

SYSTEM = "regent-system"
RECORD = {"role": "Standby", "other": "old", "secret": f"{SYSTEM}/active-hub"}
REGIONS_WITH_CLUSTERS = ("eu-west-1", "eu-central-1")


class Standby(CommandLine):
    """A standby that has copied a shop from a hub that is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.members = FakeMembers()
        self.members.down.add("followed-hub")
        for name in ("kube-system", "shop"):
            self.cluster.put(NAMESPACES, {"metadata": {"name": name, "uid": "new"}})
        put_shop(self)
        self.policy["metadata"]["annotations"] = {COPIED: "old", COPIED_UID: "1"}
        for name in REGIONS_WITH_CLUSTERS:
            reference = {"namespace": SYSTEM, "name": name, "key": "kubeconfig"}
            self.cluster._objects[REGIONS]["", name]["spec"]["cluster"] = {"kubeconfigSecretRef": reference}
            self.cluster.put(SECRETS, {"metadata": {"namespace": SYSTEM, "name": name}, "data": {}})
            self.keep(name, "8.1.4")
        self.put_record(**RECORD)

    def put_record(self, **data: str) -> None:
        self.cluster.put(CONFIG_MAPS, {"metadata": {"namespace": SYSTEM, "name": "regent-hub-role"}, "data": data})

    def keep(self, region: str, fence: str) -> None:
        metadata = {"namespace": SYSTEM, "name": "regent-epochs"}
        self.members.clusters[region].put(CONFIG_MAPS, {"metadata": metadata, "data": {"shop.shop": fence}})

    def kept(self, region: str) -> Any:
        return self.members.clusters[region]._objects[CONFIG_MAPS][SYSTEM, "regent-epochs"]

    @property
    def record(self) -> Any:
        return self.cluster._objects[CONFIG_MAPS][SYSTEM, "regent-hub-role"]["data"]

    @property
    def policy(self) -> Any:
        return self.cluster._objects[FAILOVER_POLICIES]["shop", "shop"]

    def refused(self, *options: str) -> str:
        """Everything that was said; and that no region was told, and that it goes on copying."""
        before = [self.kept(name)["metadata"]["resourceVersion"] for name in REGIONS_WITH_CLUSTERS]
        result = self.run("hub", "promote", *options)
        assert result.exit_code == 1, result.output
        assert [self.kept(name)["metadata"]["resourceVersion"] for name in REGIONS_WITH_CLUSTERS] == before
        assert self.policy["status"]["epoch"] == 8
        assert self.record == RECORD
        return str(result.output)


@pytest.fixture
def standby() -> Standby:
    return Standby()


def test_a_standby_takes_over(standby: Standby) -> None:
    before = standby.cluster.version
    dry = standby.run("hub", "promote", "--dry-run")
    assert (dry.exit_code, standby.cluster.version) == (0, before), dry.output
    roles: list[str] = []
    standby.meanwhile = lambda: roles.append(standby.record["role"])
    result = standby.run("hub", "promote")
    assert result.exit_code == 0, result.output
    assert set(roles) == {"Promoting"}, "the copying is stopped first, and there is time for it"
    assert standby.slept >= 2
    assert standby.record == {"role": "Active", "term": "1"}
    status = standby.policy["status"]
    assert (status["epoch"], status["activeRegion"]) == (TERM, "eu-central-1")
    assert COPIED not in standby.policy["metadata"]["annotations"]
    for name in REGIONS_WITH_CLUSTERS:
        assert standby.kept(name)["data"]["shop.shop"] == f"{TERM}.0.8"
        assert standby.kept(name)["metadata"]["annotations"] == {HUB_ANNOTATION: "new", TERM_ANNOTATION: "1"}
    again = standby.run("hub", "promote")
    assert (again.exit_code, "no standby" in again.output) == (1, True)


def test_the_role_is_active_only_when_everything_is_done(standby: Standby) -> None:
    """Fails when a hub could act that has fenced nobody, or not at the end."""
    standby.members.clusters["eu-central-1"].fail("replace", UnavailableError("gone"))
    result = standby.run("hub", "promote")
    assert (result.exit_code, "give the same command again" in result.output) == (1, True), result.output
    assert standby.record["role"] == "Promoting"
    assert standby.policy["status"]["epoch"] == 8
    # Cut short once more, when the policy has been raised already.
    standby.cluster.fail("replace", UnavailableError("gone"), resource=REGIONS)
    standby.cluster._objects[REGIONS]["", "eu-west-1"]["metadata"]["annotations"] = {COPIED: "old"}
    assert standby.run("hub", "promote").exit_code == 1
    assert standby.record["role"] == "Promoting"
    result = standby.run("hub", "promote")
    assert result.exit_code == 0, result.output
    assert standby.record == {"role": "Active", "term": "1"}
    assert standby.policy["status"]["epoch"] == TERM
    assert standby.kept("eu-west-1")["data"]["shop.shop"] == f"{TERM}.0.8"


def test_a_policy_that_was_raised_already_is_not_raised_again(standby: Standby) -> None:
    standby.cluster.fail("replace", UnavailableError("gone"), resource=CONFIG_MAPS, times=0)
    writes = 0
    replace = standby.cluster.replace

    async def cut_short(resource: Any, obj: Any) -> Any:
        nonlocal writes
        if resource == CONFIG_MAPS and obj["data"]["role"] == "Active" and not writes:
            writes += 1
            raise UnavailableError("gone")
        return await replace(resource, obj)

    standby.cluster.replace = cut_short  # type: ignore[method-assign]
    assert standby.run("hub", "promote").exit_code == 1
    assert (standby.record["role"], standby.policy["status"]["epoch"]) == ("Promoting", TERM)
    assert standby.run("hub", "promote").exit_code == 0
    assert (standby.record["role"], standby.policy["status"]["epoch"]) == ("Active", TERM)
    assert standby.kept("eu-west-1")["data"]["shop.shop"] == f"{TERM}.0.8"


@pytest.mark.parametrize("role", ["", "Active", "Superseded"])
def test_only_a_standby_is_promoted(standby: Standby, role: str) -> None:
    standby.put_record(**({"role": role, "other": "old"} if role else {}))
    result = standby.run("hub", "promote")
    assert (result.exit_code, "this hub is no standby" in result.output) == (1, True)
    assert standby.policy["status"]["epoch"] == 8


def test_a_hub_that_still_leads_is_not_taken_over_from_unasked(standby: Standby) -> None:
    standby.members.down.clear()
    spec = {"holderIdentity": "regent-0", "leaseDurationSeconds": 5, "renewTime": "1"}
    lease = {"metadata": {"namespace": SYSTEM, "name": "regent"}, "spec": spec}
    other: FakeCluster = standby.members.clusters["followed-hub"]
    other.put(LEASES, lease)

    def renew() -> None:
        other.put(LEASES, {**lease, "spec": {**spec, "renewTime": str(standby.slept)}})

    standby.meanwhile = renew
    assert "hub old still leads: give --planned" in standby.refused()
    standby.meanwhile = None
    assert standby.run("hub", "promote", "--dry-run").exit_code == 0, "its operator is dead"
    standby.meanwhile = renew
    assert standby.run("hub", "promote", "--planned").exit_code == 0


def test_what_cannot_be_known_is_asked(standby: Standby) -> None:
    standby.members.down.add("eu-west-1")
    assert "--without eu-west-1" in standby.refused()
    standby.keep("eu-central-1", "9.1.0")
    said = standby.refused("--without", "eu-west-1")
    assert "older than what eu-central-1 has seen" in said
    result = standby.run("hub", "promote", "--without", "eu-west-1", "--active", "shop/shop=eu-central-1")
    assert result.exit_code == 0, result.output
    assert standby.kept("eu-west-1")["data"]["shop.shop"] == "8.1.4"
    assert standby.kept("eu-central-1")["data"]["shop.shop"].startswith(f"{TERM}.")


def test_a_run_under_way_is_asked_about(standby: Standby) -> None:
    standby.policy["status"]["operation"] = {"uid": "1", "name": "shop-10", "from": "eu-central-1", "to": "us-east-1"}
    assert "run shop-10 (eu-central-1 to us-east-1) was under way" in standby.refused()


def test_the_status_of_a_hub_is_shown(standby: Standby) -> None:
    said = standby.read("hub", "status")
    assert "Role Standby, term 0, other hub old" in said
    assert "shop/shop" in said
    standby.cluster._objects[CONFIG_MAPS].clear()
    assert "Role Active, term 0" in standby.read("hub", "status")
