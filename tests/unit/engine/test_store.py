"""The store never goes back in time, whichever of watch, resync and own writes is late."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.engine import store as store_module
from regent.engine.queue import Key
from regent.engine.resources import FAILOVER_POLICIES, REGIONS
from regent.engine.store import Store


def region(name: str, version: int, *, uid: str = "", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}, "spec": spec}


def version_of(store: Store, name: str) -> str | None:
    found = store.get(REGIONS, "", name)
    return found["metadata"]["resourceVersion"] if found else None


def test_an_echo_of_the_watch_does_not_undo_a_newer_write() -> None:
    store = Store()
    assert store.observe(REGIONS, region("a", 10))
    assert store.observe(REGIONS, region("a", 12))
    assert not store.observe(REGIONS, region("a", 11))
    assert not store.observe(REGIONS, region("a", 12))
    assert version_of(store, "a") == "12"


def test_versions_compare_as_numbers() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 999))
    assert store.observe(REGIONS, region("a", 1000)), "as text 1000 would be older than 999"


def test_listeners_hear_changes_and_deletions_once_and_only_of_their_resource() -> None:
    store = Store()
    heard: list[Key] = []
    store.subscribe(REGIONS, heard.append)
    store.observe(REGIONS, region("a", 1))
    store.observe(REGIONS, region("a", 1))
    store.observe(
        FAILOVER_POLICIES, {"metadata": {"namespace": "shop", "name": "p", "uid": "p", "resourceVersion": "2"}}
    )
    store.remove(REGIONS, region("a", 3))
    assert heard == [Key(REGIONS, "", "a")] * 2


def test_a_failing_listener_does_not_keep_the_news_from_others(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    heard: list[Key] = []
    store.subscribe(REGIONS, lambda key: 1 / 0)
    store.subscribe(REGIONS, heard.append)
    store.observe(REGIONS, region("a", 1))
    assert heard
    assert "Listener failed" in caplog.text


def test_the_deletion_of_a_namesake_leaves_the_new_object() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 1, uid="old"))
    store.observe(REGIONS, region("a", 5, uid="new"))
    assert not store.remove(REGIONS, region("a", 4, uid="old"))
    assert version_of(store, "a") == "5"


def test_a_late_version_of_a_deleted_object_does_not_bring_it_back() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 1))
    store.remove(REGIONS, region("a", 4))
    assert not store.observe(REGIONS, region("a", 3))
    assert store.get(REGIONS, "", "a") is None


def test_a_deletion_that_overtakes_the_creation_holds() -> None:
    store = Store()
    store.remove(REGIONS, region("a", 4))
    assert not store.observe(REGIONS, region("a", 3))


def test_resync_prunes_what_the_watch_did_not_report_gone() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 1))
    store.observe(REGIONS, region("b", 2))
    heard: list[Key] = []
    store.subscribe(REGIONS, heard.append)
    assert store.replace_all(REGIONS, [region("b", 2)]) == 1
    assert heard == [Key(REGIONS, "", "a")]
    assert not store.observe(REGIONS, region("a", 1)), "what was pruned stays away"


def test_resync_keeps_what_came_in_while_it_listed() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 1))
    mark = store.mark()
    store.observe(REGIONS, region("b", 9))  # created after the list was read
    store.observe(REGIONS, region("a", 8))  # changed after the list was read
    store.replace_all(REGIONS, [region("a", 1)], mark=mark)
    assert version_of(store, "b") == "9"
    assert version_of(store, "a") == "8"


def test_resync_does_not_bring_back_what_was_deleted_while_it_listed() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 1))
    mark = store.mark()
    store.remove(REGIONS, region("a", 7))
    store.replace_all(REGIONS, [region("a", 1)], mark=mark)
    assert store.get(REGIONS, "", "a") is None


def test_resync_follows_a_cluster_that_was_restored_from_a_backup() -> None:
    store = Store()
    store.observe(REGIONS, region("a", 900, tier="Primary"))
    store.replace_all(REGIONS, [region("a", 40, tier="Secondary")])
    assert version_of(store, "a") == "40"
    assert store.observe(REGIONS, region("a", 41))


def test_synced_only_when_every_required_resource_was_listed() -> None:
    store = Store([REGIONS, FAILOVER_POLICIES])
    store.mark_synced(REGIONS)
    assert not store.synced()
    assert store.synced(REGIONS)
    store.mark_synced(FAILOVER_POLICIES)
    assert store.synced()


def test_list_by_namespace() -> None:
    store = Store()
    for namespace in ("a", "b"):
        metadata = {"namespace": namespace, "name": "p", "uid": namespace, "resourceVersion": "1"}
        store.observe(FAILOVER_POLICIES, {"metadata": metadata})
    assert len(store.list(FAILOVER_POLICIES)) == 2
    assert [obj["metadata"]["namespace"] for obj in store.list(FAILOVER_POLICIES, "b")] == ["b"]
    assert store.list(REGIONS) == []


def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TOMBSTONES", 3)
    store = Store()
    for number in range(10):
        store.remove(REGIONS, region(f"r{number}", number))
    assert len(store._tombstones) == 3


history = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12)


@given(history=history, data=st.data())
def test_any_order_and_repetition_of_the_watch_ends_in_the_last_state(history: list[Any], data: st.DataObject) -> None:
    """Deliver a history of creations, changes and deletions in any order, with repetitions: the end is the truth."""
    events: list[tuple[str, dict[str, Any]]] = []
    truth: dict[str, dict[str, Any]] = {}
    births = 0
    for version, (name, deletes) in enumerate(history, start=1):
        if deletes and name in truth:
            events.append(("DELETED", region(name, version, uid=truth.pop(name)["metadata"]["uid"])))
        else:
            births += name not in truth
            uid = truth[name]["metadata"]["uid"] if name in truth else f"{name}{births}"
            truth[name] = region(name, version, uid=uid)
            events.append(("MODIFIED", truth[name]))
    delivered = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=5))))
    store = Store()
    for kind, obj in delivered:
        (store.remove if kind == "DELETED" else store.observe)(REGIONS, obj)
    assert {obj["metadata"]["name"]: obj for obj in store.list(REGIONS)} == truth


def test_managed_fields_are_kept_of_routes_alone() -> None:
    """They are a third of a Region's memory; of routes they tell who else writes the weights."""
    from regent.engine.resources import HTTP_ROUTES, REGIONS

    store = Store()
    managers = [{"manager": "kubectl", "operation": "Update"}]
    for resource, namespace in ((REGIONS, ""), (HTTP_ROUTES, "shop")):
        metadata = {"name": "x", "namespace": namespace, "uid": resource.kind, "resourceVersion": "1"}
        given = {"metadata": {**metadata, "managedFields": managers}}
        store.observe(resource, given)
        assert given["metadata"]["managedFields"] == managers, "the caller's object is left alone"
    region, route = store.get(REGIONS, "", "x"), store.get(HTTP_ROUTES, "shop", "x")
    assert region is not None
    assert route is not None
    assert "managedFields" not in region["metadata"]
    assert route["metadata"]["managedFields"] == managers
