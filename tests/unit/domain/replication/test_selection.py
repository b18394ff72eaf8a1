"""Which objects are selected, which kinds a selection means, and in which order kinds are written."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.labels import query_text
from regent.domain.replication import kinds
from regent.domain.replication.model import Category, KindChoice, KindRef, ResourceSelector, StorageDriver
from regent.domain.replication.selection import MAX_QUERY, common_query, hot, selected
from tests.fakes.replication import config_map, replication_spec

CART = KindChoice(group="shop.example.com", version="v1", kind="Cart", include_status=True)


def names(**options: Any) -> list[str]:
    return [kind.kind for kind in kinds.kinds_of(ResourceSelector(**options))]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"category": Category.CONFIG}, ["ConfigMap"]),
        ({"category": Category.CONFIG, "include_secrets": True}, ["ConfigMap", "Secret"]),
        ({"category": Category.CONFIG, "include_rbac": True}, ["ConfigMap", "ServiceAccount", "Role", "RoleBinding"]),
        (
            {"category": Category.WORKLOAD},
            ["Deployment", "StatefulSet", "HorizontalPodAutoscaler", "CronJob", "PodDisruptionBudget"],
        ),
        ({"category": Category.NETWORK}, ["Service", "GRPCRoute", "HTTPRoute", "Ingress", "NetworkPolicy"]),
        ({"category": Category.STORAGE}, ["PersistentVolumeClaim", "VolumeReplication"]),
        (
            {"category": Category.STORAGE, "storage": StorageDriver.VOL_SYNC},
            ["PersistentVolumeClaim", "ReplicationSource"],
        ),
        ({"category": Category.STATE, "kinds": (CART,)}, ["Cart"]),
        ({"category": Category.WORKLOAD, "kinds": (KindChoice(kind="CronJob"),)}, ["CronJob"]),
        ({"category": Category.CONFIG, "kinds": (KindChoice(kind="Secret"),)}, []),
    ],
)
def test_kinds(options: dict[str, Any], expected: list[str]) -> None:
    assert sorted(names(**options)) == sorted(expected)


@pytest.mark.parametrize(
    ("driver", "listed", "read"),
    [
        (StorageDriver.VOL_SYNC, (), True),
        (StorageDriver.VOL_SYNC, ("ReplicationDestination",), True),
        (StorageDriver.VOL_SYNC, ("ReplicationSource",), False),
        (StorageDriver.VOLUME_REPLICATION, (), False),
    ],
)
def test_what_receives_data_is_read_and_never_copied(
    driver: StorageDriver, listed: tuple[str, ...], read: bool
) -> None:
    chosen = tuple(KindChoice(kind=kind) for kind in listed)
    selector = ResourceSelector(category=Category.STORAGE, storage=driver, kinds=chosen)
    assert kinds.reads_destinations(selector) is read
    assert kinds.REPLICATION_DESTINATION not in kinds.kinds_of(selector)
    assert kinds.unknown_kinds(selector) == ()


def test_a_secret_is_never_selected_unless_it_is_asked_for() -> None:
    asked = (ResourceSelector(category=Category.CONFIG, include_secrets=True, names=frozenset({"keys"})),)
    for category in Category:
        plain = (ResourceSelector(category=category),)
        assert kinds.SECRET not in kinds.kinds_of_spec(replication_spec(resources=plain))
        assert kinds.SECRET in kinds.kinds_of_spec(replication_spec(resources=(*plain, *asked)))
    assert kinds.unknown_kinds(ResourceSelector(category=Category.CONFIG, kinds=(KindChoice(kind="Secret"),))) == (
        "Secret",
    )


def test_each_kind_has_its_wave_and_definitions_come_first() -> None:
    order = [
        KindRef("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), kinds.CONFIG_MAP, kinds.ROLE, kinds.SERVICE,
        kinds.VOLUME_CLAIM, kinds.DEPLOYMENT, KindRef("shop.example.com", "v1", "Cart"),
    ]  # fmt: skip
    assert [kinds.wave(kind) for kind in order] == list(range(len(kinds.WAVES)))
    found = [kinds.wave(kind) for kind in kinds.kinds_of_spec(replication_spec())]
    assert found == sorted(found)


def test_a_status_is_copied_for_the_kinds_that_say_so() -> None:
    spec = replication_spec(resources=(ResourceSelector(category=Category.STATE, kinds=(CART,)),))
    assert kinds.includes_status(spec, KindRef("shop.example.com", "v1", "Cart"))
    assert not kinds.includes_status(spec, kinds.CONFIG_MAP)


def labelled(name: str = "settings", **labels: str) -> dict[str, Any]:
    obj = config_map(name)
    obj["metadata"]["labels"] = labels
    return obj


@pytest.mark.parametrize(
    ("options", "obj", "expected"),
    [
        ({}, config_map(), True),
        ({"names": frozenset({"settings"})}, config_map(), True),
        ({"names": frozenset({"other"})}, config_map(), False),
        ({"exclude": frozenset({"settings"})}, config_map(), False),
        ({"selector": {"matchLabels": {"app": "shop"}}}, labelled(app="shop"), True),
        ({"selector": {"matchLabels": {"app": "shop"}}}, config_map(), False),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, labelled(a="1"), False),
        ({}, {"metadata": None}, False),
        ({}, {}, False),
    ],
)
def test_names_and_labels(options: dict[str, Any], obj: dict[str, Any], expected: bool) -> None:
    assert selected(obj, ResourceSelector(category=Category.CONFIG, **options)) is expected


@pytest.mark.parametrize(
    ("accesses", "label", "expected"),
    [
        ("11", None, True), ("10", None, False), (None, None, False), ("many", None, False), ("-11", None, False),
        ("1e9", None, False), ("9" * 400, None, False), ("0", "true", True), ("999", "false", False),
        ("11", "maybe", True),
    ],
)  # fmt: skip
def test_hot_and_cold(accesses: str | None, label: str | None, expected: bool) -> None:
    obj = config_map()
    obj["metadata"]["annotations"] = {} if accesses is None else {"regent.dev/accesses-per-day": accesses}
    obj["metadata"]["labels"] = {} if label is None else {"regent.dev/hot": label}
    assert hot(obj, replication_spec(hot_accesses=10)) is expected


def expression(key: Any, operator: str, *values: Any) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, ""),
        ({"matchLabels": {"b": "2", "a.example/app": "shop"}}, "a.example/app=shop,b=2"),
        (
            {"matchExpressions": [expression("a", "In", "x", "y"), expression("b", "NotIn", "z")]},
            "a in (x,y),b notin (z)",
        ),
        ({"matchExpressions": [expression("a", "Exists"), expression("b", "DoesNotExist")]}, "a,!b"),
        # What a server would refuse, or read in another way, is not sent to it: a watch would fail for ever.
        ({"matchLabels": {"a": "b,c=d"}}, ""),
        ({"matchLabels": {"a": "b/c"}}, ""),
        ({"matchLabels": {"a": ""}}, ""),
        ({"matchLabels": {"a": 1}}, ""),
        ({"matchLabels": {"a..b/c": "d"}}, ""),
        ({"matchLabels": {"/c": "d"}}, ""),
        ({"matchLabels": {"a": "x" * 64}}, ""),
        ({"matchExpressions": [expression("a", "Like", "b")]}, ""),
        ({"matchExpressions": [expression("a", "In")]}, ""),
        ({"matchExpressions": [expression("a", "Exists", "b")]}, ""),
        ({"matchExpressions": [expression("a)", "Exists")]}, ""),
        ({"matchExpressions": [expression(None, "Exists")]}, ""),
    ],
)
def test_a_selector_as_the_text_of_a_query(selector: dict[str, Any], text: str) -> None:
    assert query_text(selector) == text


def choosing(**labels: str) -> ResourceSelector:
    return ResourceSelector(category=Category.CONFIG, selector={"matchLabels": labels})


def test_the_server_selects_only_where_all_selections_agree() -> None:
    assert common_query([choosing(app="shop"), choosing(app="shop")]) == "app=shop"
    assert common_query([choosing(app="shop"), choosing(app="other")]) == ""
    assert common_query([choosing(app="shop"), ResourceSelector(category=Category.CONFIG)]) == ""
    assert common_query([]) == ""
    many = {f"label-{number}": "x" * 60 for number in range(MAX_QUERY // 60)}
    assert common_query([choosing(**many)]) == ""
