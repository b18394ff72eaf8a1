"""`regent hub`: what is taken along, which epochs a hub that takes over gets, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.domain.errors import ClusterError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.hub import TERM, is_promotion, promotion_fence
from regent.engine.hub_epochs import HUB_ANNOTATION
from regent.engine.ports import Cluster, Object
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES, LEASES, NAMESPACES, REGIONS, SECRETS
from tests.fakes.cli import CommandLine, put_shop
from tests.fakes.cluster import FakeCluster

SYSTEM = "regent-system"
SHOP = "shop/shop"


class Members:
    """The clusters of the regions, some of which may be silent."""

    def __init__(self, clusters: dict[str, FakeCluster]) -> None:
        self._clusters = clusters
        self.silent: dict[str, ClusterError] = {}

    async def cluster(self, region: str, *, account: str = "") -> Cluster:
        if region in self.silent:
            raise self.silent[region]
        return self._clusters[region]


class Hub(CommandLine):
    """A hub whose regions eu-west-1 and eu-central-1 have clusters."""

    def __init__(self, uid: str, regions: dict[str, FakeCluster]) -> None:
        super().__init__()
        self.members = Members(regions)
        for name in ("kube-system", "shop"):
            self.cluster.put(NAMESPACES, {"metadata": {"name": name, "uid": uid}})
        for name in regions:
            self.cluster.put(SECRETS, {"metadata": {"namespace": SYSTEM, "name": name}, "data": {}})

    @property
    def policy(self) -> Any:
        """The policy of the shop; None before it is there."""
        return self.cluster._objects.get(FAILOVER_POLICIES, {}).get(("shop", "shop"))


class World:
    """The old hub, which has written its file, and the new one; both reach the same regions."""

    def __init__(self, file: Path) -> None:
        self.regions = {"eu-west-1": FakeCluster(), "eu-central-1": FakeCluster()}
        self.old, self.new, self.file = Hub("old", self.regions), Hub("new", self.regions), file
        put_shop(self.old)
        for name in self.regions:
            region = self.old.cluster._objects[REGIONS]["", name]
            reference = {"namespace": SYSTEM, "name": name, "key": "kubeconfig"}
            region["spec"]["cluster"] = {"kubeconfigSecretRef": reference}
            self.keep(name, "8.1.4")

    def keep(self, region: str, fence: str) -> None:
        metadata = {"namespace": SYSTEM, "name": "regent-epochs"}
        self.regions[region].put(CONFIG_MAPS, {"metadata": metadata, "data": {"shop.shop": fence, "other.x": "3.0.0"}})

    def kept(self, region: str) -> Any:
        return self.regions[region]._objects[CONFIG_MAPS][SYSTEM, "regent-epochs"]

    def export(self) -> None:
        result = self.old.run("hub", "export")
        assert result.exit_code == 0, result.output
        self.file.write_text(result.stdout, encoding="utf-8")

    def take(self, *options: str) -> Any:
        return self.new.run("hub", "import", str(self.file), *options)

    def refused(self, *options: str) -> str:
        """Everything that was said; and that nothing was written."""
        before = [list(cluster.writes) for cluster in (self.new.cluster, *self.regions.values())]
        result = self.take(*options)
        assert result.exit_code == 1, result.output
        assert [list(cluster.writes) for cluster in (self.new.cluster, *self.regions.values())] == before
        return str(result.output)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "hub.yaml")


def test_a_promotion_is_out_of_reach_of_the_old_hub() -> None:
    assert promotion_fence(0) == promotion_fence(7) == promotion_fence(TERM - 1) == Fence(TERM)
    assert promotion_fence(TERM) == promotion_fence(TERM + 5) == Fence(2 * TERM)
    assert promotion_fence(7) > Fence(8, 99, 99)
    assert is_promotion(Fence(TERM))
    assert not any(map(is_promotion, (Fence(0), Fence(7), Fence(TERM, 1), Fence(TERM + 1))))
    with pytest.raises(ValueError, match="cannot be real"):
        promotion_fence(10**17)


def test_what_is_taken_along(world: World) -> None:
    policy = world.old.policy
    policy["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "web"}
    world.export()
    found = yaml.safe_load(world.file.read_text(encoding="utf-8"))
    assert found["hub"] == {"uid": "old"}
    taken = {(item["kind"], item["metadata"]["name"]): item for item in found["items"]}
    assert ("Failover", "shop-9") not in taken
    shop = taken["FailoverPolicy", "shop"]
    assert shop["metadata"] == {"name": "shop", "namespace": "shop", "annotations": {"team": "web"}}
    assert (shop["status"]["epoch"], shop["status"]["activeRegion"]) == (8, "eu-central-1")
    assert not {"conditions", "candidates", "targets", "phase"} & set(shop["status"])
    assert "status" not in taken["Region", "eu-west-1"]
    assert "regent-system/eu-west-1 is needed" in world.old.run("hub", "export").stderr


def test_a_hub_takes_over(world: World) -> None:
    world.export()
    assert world.take("--dry-run").exit_code == 0
    assert not world.new.policy
    result = world.take()
    assert result.exit_code == 0, result.output
    status = world.new.policy["status"]
    assert (status["epoch"], status["activeRegion"], status["totals"]["succeeded"]) == (TERM, "eu-central-1", 12)
    for region in world.regions:
        kept = world.kept(region)
        assert kept["data"] == {"shop.shop": f"{TERM}.0.8", "other.x": "3.0.0"}
        assert kept["metadata"]["annotations"][HUB_ANNOTATION] == "new"
    versions = [world.kept(region)["metadata"]["resourceVersion"] for region in world.regions]
    again = world.take()
    assert again.exit_code == 0, "the same import again"
    assert "unchanged" in again.output
    assert "changed " not in again.output.replace("unchanged", "")
    assert [world.kept(region)["metadata"]["resourceVersion"] for region in world.regions] == versions
    assert world.new.policy["status"] == status


def test_an_import_that_was_cut_short_is_finished_by_the_same_one(world: World) -> None:
    world.export()
    world.new.cluster.fail("create", UnavailableError("gone"), resource=FAILOVER_POLICIES)
    assert world.take().exit_code == 1
    assert world.kept("eu-west-1")["data"]["shop.shop"] == f"{TERM}.0.8", "the old hub is fenced first"
    assert world.take().exit_code == 0
    assert world.new.policy["status"]["epoch"] == TERM


def test_the_policy_never_exists_without_the_old_hub_being_fenced(world: World) -> None:
    world.export()
    world.regions["eu-central-1"].fail("replace", UnavailableError("gone"))
    assert world.take().exit_code == 1
    assert not world.new.policy


def test_a_run_of_the_old_hub_in_the_last_moment_is_not_overwritten(world: World) -> None:
    world.export()
    cluster, looks = world.regions["eu-central-1"], []
    get = cluster.get

    async def late(*arguments: Any) -> Object:
        looks.append(arguments)
        if len(looks) == 2:  # the first was to judge, this one is to write
            world.keep("eu-central-1", "9.1.0")
        return await get(*arguments)

    cluster.get = late  # type: ignore[method-assign,assignment]
    result = world.take()
    assert (result.exit_code, "another epoch of shop/shop" in result.output) == (1, True), result.output
    assert world.kept("eu-central-1")["data"]["shop.shop"] == "9.1.0"
    assert not world.new.policy


def test_an_older_export_is_refused(world: World) -> None:
    world.export()
    world.keep("eu-central-1", "9.1.0")
    said = world.refused()
    assert "older than what eu-central-1 has seen (epoch 8, there 9)" in said
    assert "--active shop/shop=REGION" in said
    assert world.take("--active", f"{SHOP}=us-east-1").exit_code == 0
    status = world.new.policy["status"]
    assert (status["activeRegion"], status["activeRegions"], status["epoch"]) == ("us-east-1", ["us-east-1"], TERM)
    assert {row["region"]: row["weightPercent"] for row in status["distribution"]} == {
        "eu-west-1": 0,
        "eu-central-1": 0,
        "us-east-1": 100,
    }


def test_what_this_hub_has_is_never_put_back(world: World) -> None:
    world.export()
    assert world.take().exit_code == 0
    world.new.policy["status"]["epoch"] = TERM + 1
    for options in ((), ("--active", f"{SHOP}=us-east-1")):
        assert f"this hub has epoch {TERM + 1} of it, the export has 8, which is older" in world.refused(*options)


@pytest.mark.parametrize("memory", ["regions", "policy"])
def test_an_older_export_does_not_follow_a_newer_one(world: World, memory: str) -> None:
    """Both were made before the takeover, so both know less than this hub, and the older one less than the newer."""
    world.old.policy["status"] |= {"epoch": 5, "activeRegion": "eu-west-1", "active": "eu-west-1"}
    world.export()
    older = world.file.read_text(encoding="utf-8")
    world.old.policy["status"] |= {"epoch": 8, "activeRegion": "eu-central-1", "active": "eu-central-1"}
    world.export()
    newer = world.file.read_text(encoding="utf-8")
    if memory == "policy":  # without a cluster in any region there is nobody else who could know
        world.old.cluster._objects[REGIONS].clear()
        world.export()
        newer = world.file.read_text(encoding="utf-8")
        older = newer.replace("epoch: 8", "epoch: 5")
        assert world.take().exit_code == 0
    else:
        world.new.cluster.fail("create", UnavailableError("gone"), resource=FAILOVER_POLICIES)
        assert world.take().exit_code == 1, "cut short: only the regions know of it"
    world.file.write_text(older, encoding="utf-8")
    for options in ((), ("--active", f"{SHOP}=eu-west-1")):
        assert "has taken it over with epoch 8, the export has 5, which is older" in world.refused(*options)
    world.file.write_text(newer, encoding="utf-8")
    assert world.take().exit_code == 0
    assert world.new.policy["status"]["activeRegion"] == "eu-central-1"


def test_a_takeover_by_a_third_hub_is_seen(world: World) -> None:
    """The same epoch, left by another hub: both would believe that the other one is fenced."""
    world.export()
    assert world.take().exit_code == 0
    third = Hub("third", world.regions)
    world.new = third
    assert f"there {TERM}" in world.refused()
    assert world.take("--active", f"{SHOP}=eu-central-1").exit_code == 0
    assert third.policy["status"]["epoch"] == 2 * TERM
    assert world.kept("eu-west-1")["data"]["shop.shop"] == f"{2 * TERM}.0.8"


def test_a_run_under_way_is_asked_about(world: World) -> None:
    world.old.policy["status"]["operation"] = {"uid": "1", "name": "shop-10", "from": "eu-central-1", "to": "us-east-1"}
    world.export()
    assert "run shop-10 (eu-central-1 to us-east-1) was under way" in world.refused()
    assert world.take("--active", f"{SHOP}=us-east-1").exit_code == 0
    assert "operation" not in world.new.policy["status"]


def test_a_region_that_is_not_reached_is_named(world: World) -> None:
    world.export()
    world.new.members.silent["eu-west-1"] = UnavailableError("no route to host")
    assert "--without eu-west-1" in world.refused()
    assert world.take("--without", "eu-west-1").exit_code == 0
    assert world.kept("eu-west-1")["data"]["shop.shop"] == "8.1.4"
    assert world.kept("eu-central-1")["data"]["shop.shop"] == f"{TERM}.0.8"


def test_everything_that_stands_against_it_is_said_at_once(world: World) -> None:
    world.export()
    del world.new.cluster._objects[SECRETS][SYSTEM, "eu-west-1"]
    del world.new.cluster._objects[NAMESPACES]["", "shop"]
    said = world.refused("--active", "shop/nothing=us-east-1")
    assert "Secret regent-system/eu-west-1 is missing" in said
    assert "these namespaces are missing: shop" in said
    assert "--active shop/nothing: the export has no such FailoverPolicy" in said


def test_a_hub_takes_nothing_over_from_itself(world: World) -> None:
    world.export()
    world.new = world.old
    assert "nothing to take over from itself" in world.refused()


@pytest.mark.parametrize(("alive", "code"), [(True, 1), (False, 0)])
def test_an_operator_that_runs_here_is_in_the_way_a_dead_one_is_not(world: World, alive: bool, code: int) -> None:
    world.export()
    spec = {"holderIdentity": "regent-0", "leaseDurationSeconds": 5, "renewTime": "2026-11-21T12:00:00.000000Z"}
    lease = {"metadata": {"namespace": SYSTEM, "name": "regent"}, "spec": spec}
    world.new.cluster.put(LEASES, lease)

    def renew() -> None:
        if alive and world.new.slept > 2:
            world.new.cluster.put(LEASES, {**lease, "spec": {**spec, "renewTime": "2026-11-21T12:00:02.000000Z"}})

    world.new.meanwhile = renew
    result = world.take()
    assert (result.exit_code, "an operator leads" in result.output) == (code, alive), result.output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2",
        "kind: List",
        "{apiVersion: hub.regent.dev/v1, kind: HubExport, items: []}",
        "{apiVersion: hub.regent.dev/v1, kind: HubExport, hub: {uid: x}, items: [{kind: Secret}]}",
        "{apiVersion: hub.regent.dev/v1, kind: HubExport, hub: {uid: x}, items: [{apiVersion: v1, kind: ClusterRole, "
        "metadata: {name: x}, spec: {}}]}",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_another_file_is_refused(world: World, text: str) -> None:
    world.file.write_text(text, encoding="utf-8")
    assert str(world.file) in world.refused()


def test_a_file_that_is_not_there_is_refused(world: World) -> None:
    assert "cannot be read: No such file" in world.refused()


@pytest.mark.parametrize("text", ["shop=eu", "shop/shop", "shop/shop=", "a/b/c=eu"])
def test_a_wrong_answer_is_refused(world: World, text: str) -> None:
    world.export()
    assert world.take("--active", text).exit_code == 2


def test_an_answer_must_be_one_of_the_regions(world: World) -> None:
    world.export()
    assert "mars is none of its regions" in world.refused("--active", f"{SHOP}=mars")
    world.old.policy["spec"]["topology"] = "ActiveActive"
    world.export()
    assert "several regions serve" in world.refused("--active", f"{SHOP}=us-east-1")
