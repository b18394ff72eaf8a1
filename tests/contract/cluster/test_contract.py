"""What every implementation of the Cluster port does. What the fake gets wrong here would make other tests lie."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError, UnavailableError
from regent.engine.resources import DEPLOYMENTS, FAILOVER_POLICIES, LEASES, REGIONS, SERVICES, Resource
from tests.contract.cluster.conftest import Bench


def region(bench: Bench, name: str = "a", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": REGIONS.api_version,
        "kind": REGIONS.kind,
        "metadata": {"name": bench.name(name), "labels": labels},
        "spec": {"endpoint": "https://a.example.com", "probes": [{"name": "web", "http": {"path": "/"}}]},
    }


def lease(bench: Bench) -> dict[str, Any]:
    metadata = {"namespace": bench.namespace, "name": "x"}
    return {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": "a"}}


def service(bench: Bench) -> dict[str, Any]:
    metadata = {"namespace": bench.namespace, "name": "web", "labels": {"regent.dev/region": "eu"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}


def health(obj: dict[str, Any], message: str) -> dict[str, Any]:
    return {**obj, "status": {**obj.get("status", {}), "health": "Healthy", "message": message}}


async def test_create_gives_identity_and_get_the_same_object(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    metadata = created["metadata"]
    assert metadata["uid"]
    assert metadata["creationTimestamp"]
    assert metadata["generation"] == 1
    assert int(metadata["resourceVersion"]) > 0
    assert (created["apiVersion"], created["kind"]) == (REGIONS.api_version, REGIONS.kind)
    assert await bench.cluster.get(REGIONS, "", bench.name("a")) == created


async def test_create_drops_status(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, {**region(bench), "status": {"message": "mine"}})
    assert created.get("status", {}).get("message") is None


async def test_a_taken_name_is_already_exists_not_conflict(bench: Bench) -> None:
    await bench.cluster.create(REGIONS, region(bench))
    with pytest.raises(AlreadyExistsError):
        await bench.cluster.create(REGIONS, region(bench))


async def test_create_with_a_resource_version_is_refused_oddly(bench: Bench) -> None:
    """With a 500, which reads as "try again later": callers must take the version off themselves."""
    obj = region(bench)
    obj["metadata"]["resourceVersion"] = "5"
    with pytest.raises(UnavailableError) as caught:
        await bench.cluster.create(REGIONS, obj)
    assert caught.value.status == 500


async def test_missing_objects_and_kinds_are_not_found(bench: Bench) -> None:
    cluster = bench.cluster
    obj = {**region(bench), "metadata": {"name": bench.name("a"), "resourceVersion": "1"}}
    for call in (
        cluster.get(REGIONS, "", bench.name("a")),
        cluster.get(FAILOVER_POLICIES, bench.namespace, "a"),
        cluster.replace_status(REGIONS, obj),
        cluster.delete(REGIONS, "", bench.name("a"), uid="x"),
    ):
        with pytest.raises(NotFoundError) as caught:
            await call
        assert caught.value.status == 404


async def test_replace_changes_spec_raises_generation_and_leaves_status(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    shown = await bench.cluster.replace_status(REGIONS, health(created, "fine"))
    shown["spec"]["displayName"] = "Ireland"
    shown["status"]["message"] = "smuggled"
    replaced = await bench.cluster.replace(REGIONS, shown)
    assert replaced["spec"]["displayName"] == "Ireland"
    assert replaced["metadata"]["generation"] == 2
    assert replaced["status"]["message"] == "fine"
    assert int(replaced["metadata"]["resourceVersion"]) > int(shown["metadata"]["resourceVersion"])


async def test_replace_status_changes_nothing_else(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    wanted = health(created, "fine")
    wanted["spec"] = {**wanted["spec"], "displayName": "smuggled"}
    wanted["metadata"] = {**wanted["metadata"], "finalizers": ["example.com/smuggled"]}
    shown = await bench.cluster.replace_status(REGIONS, wanted)
    assert shown["status"]["message"] == "fine"
    assert "displayName" not in shown["spec"]
    assert "finalizers" not in shown["metadata"]
    assert shown["metadata"]["generation"] == 1


async def test_a_write_with_an_old_version_conflicts(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    await bench.cluster.replace_status(REGIONS, health(created, "one"))
    with pytest.raises(ConflictError) as caught:
        await bench.cluster.replace_status(REGIONS, health(created, "two"))
    assert not isinstance(caught.value, AlreadyExistsError)
    created["spec"]["displayName"] = "x"
    with pytest.raises(ConflictError):
        await bench.cluster.replace(REGIONS, created)
    assert (await bench.cluster.get(REGIONS, "", bench.name("a")))["status"]["message"] == "one"


async def test_a_write_that_changes_nothing_makes_no_new_version(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    shown = await bench.cluster.replace_status(REGIONS, health(created, "one"))
    again = await bench.cluster.replace_status(REGIONS, health(shown, "one"))
    assert again["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"]


async def test_custom_resources_are_not_replaced_without_a_version(bench: Bench) -> None:
    await bench.cluster.create(REGIONS, region(bench))
    with pytest.raises(InvalidError):
        await bench.cluster.replace(REGIONS, region(bench))


async def test_a_write_to_a_namesake_of_another_uid_conflicts(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    created["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(ConflictError):
        await bench.cluster.replace(REGIONS, created)


async def test_a_merge_patch_changes_what_it_names_and_nothing_else(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench, tier="a", old="x"))
    await bench.cluster.replace_status(REGIONS, health(created, "fine"))
    change = {
        "metadata": {"labels": {"old": None, "new": "y"}},
        "spec": {"displayName": "Ireland"},
        "status": {"message": "smuggled"},
    }
    patched = await bench.cluster.patch(REGIONS, "", bench.name("a"), change)
    assert patched["metadata"]["labels"] == {"tier": "a", "new": "y"}
    assert patched["spec"] == {**created["spec"], "displayName": "Ireland"}
    assert patched["status"]["message"] == "fine"
    assert patched["metadata"]["generation"] == 2
    again = await bench.cluster.patch(REGIONS, "", bench.name("a"), change)
    assert again["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]


async def test_a_merge_patch_with_a_version_is_a_compare_and_set(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    name, version = bench.name("a"), created["metadata"]["resourceVersion"]
    change = {"metadata": {"resourceVersion": version}, "spec": {"displayName": "one"}}
    await bench.cluster.patch(REGIONS, "", name, change)
    with pytest.raises(ConflictError):
        await bench.cluster.patch(REGIONS, "", name, {**change, "spec": {"displayName": "two"}})
    assert (await bench.cluster.get(REGIONS, "", name))["spec"]["displayName"] == "one"
    found = await bench.cluster.patch(REGIONS, "", name, {"spec": {"displayName": "three"}})
    assert found["spec"]["displayName"] == "three"
    await bench.cluster.delete(REGIONS, "", name, uid=created["metadata"]["uid"])
    await bench.cluster.create(REGIONS, region(bench))
    stale = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": {"displayName": "four"}}
    with pytest.raises(ConflictError):
        await bench.cluster.patch(REGIONS, "", name, stale)


async def test_a_patch_of_nothing_is_not_found_and_a_name_is_not_patched(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        await bench.cluster.patch(REGIONS, "", bench.name("a"), {"spec": {"displayName": "x"}})
    await bench.cluster.create(REGIONS, region(bench))
    with pytest.raises(InvalidError):
        await bench.cluster.patch(REGIONS, "", bench.name("a"), {"metadata": {"name": bench.name("b")}})


async def test_a_kind_is_discovered_by_what_objects_say_of_themselves(bench: Bench) -> None:
    assert await bench.cluster.discover("apps/v1", "Deployment") == DEPLOYMENTS
    assert await bench.cluster.discover("v1", "Service") == SERVICES
    assert await bench.cluster.discover(REGIONS.api_version, "Region") == REGIONS
    for api_version, kind in (("apps/v1", "Deploymint"), ("nobody.example.com/v1", "Deployment"), ("v9", "Service")):
        with pytest.raises(NotFoundError):
            await bench.cluster.discover(api_version, kind)
    assert isinstance(await bench.cluster.discover("apps/v1", "Deployment"), Resource), "and again, remembered"


async def test_delete_only_the_object_with_this_uid(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    with pytest.raises(ConflictError):
        await bench.cluster.delete(REGIONS, "", bench.name("a"), uid="00000000-0000-0000-0000-000000000000")
    await bench.cluster.delete(REGIONS, "", bench.name("a"), uid=created["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await bench.cluster.get(REGIONS, "", bench.name("a"))


async def test_finalizers_hold_an_object_until_the_last_is_taken_off(bench: Bench) -> None:
    obj = region(bench)
    obj["metadata"]["finalizers"] = ["regent.dev/run"]
    created = await bench.cluster.create(REGIONS, obj)
    await bench.cluster.delete(REGIONS, "", bench.name("a"), uid=created["metadata"]["uid"])
    going = await bench.cluster.get(REGIONS, "", bench.name("a"))
    assert going["metadata"]["deletionTimestamp"]
    going["metadata"]["finalizers"] = []
    await bench.cluster.replace(REGIONS, going)
    with pytest.raises(NotFoundError):
        await bench.cluster.get(REGIONS, "", bench.name("a"))


async def test_list_by_namespace_and_label_with_kind_in_every_item(bench: Bench) -> None:
    made = await bench.cluster.create(SERVICES, service(bench))
    found = await bench.cluster.list(SERVICES, bench.namespace, label_selector="regent.dev/region")
    assert [item["metadata"]["uid"] for item in found] == [made["metadata"]["uid"]]
    assert (found[0]["apiVersion"], found[0]["kind"]) == ("v1", "Service")
    assert not await bench.cluster.list(SERVICES, bench.namespace, label_selector="regent.dev/region=us")
    assert not await bench.cluster.list(SERVICES, "default", label_selector="regent.dev/region=eu")
    everywhere = await bench.cluster.list(SERVICES, label_selector="regent.dev/region=eu")
    assert made["metadata"]["uid"] in [item["metadata"]["uid"] for item in everywhere]


async def test_built_in_kinds_by_the_same_path(bench: Bench) -> None:
    created = await bench.cluster.create(LEASES, lease(bench))
    assert created["spec"]["holderIdentity"] == "a"
    created["spec"]["holderIdentity"] = "b"
    replaced = await bench.cluster.replace(LEASES, created)
    assert replaced["spec"]["holderIdentity"] == "b"
    with pytest.raises(ConflictError):
        await bench.cluster.replace(LEASES, {**created, "spec": {"holderIdentity": "c"}})


async def test_returned_objects_are_the_callers_own(bench: Bench) -> None:
    created = await bench.cluster.create(REGIONS, region(bench))
    created["spec"]["displayName"] = "scribbled"
    assert "displayName" not in (await bench.cluster.get(REGIONS, "", bench.name("a")))["spec"]


async def test_an_empty_name_never_addresses_the_collection(bench: Bench) -> None:
    await bench.cluster.create(REGIONS, region(bench))
    with pytest.raises((NotFoundError, ValueError)):
        await bench.cluster.delete(REGIONS, "", "", uid="x")
    assert await bench.cluster.get(REGIONS, "", bench.name("a"))
