"""Comparing, field ownership and placement of copies."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.labels import selects
from regent.domain.placement import scoped_rule
from regent.domain.replication.compare import changed_at, differences, surplus
from regent.domain.replication.ownership import as_applied
from regent.domain.replication.placement import denied
from tests.fakes.replication import config_map, deployment


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ()),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("/a/b",)),
        ({"a": {}}, {}, ()),
        ({"a": []}, {}, ()),
        ({"a": None}, {}, ()),
        ({"a": {"b": {}}}, {}, ()),
        ({"a": {"b": 1}}, {}, ("/a",)),
        ({"a": {"b": 1}}, {"a": "text"}, ("/a",)),
        ({"a": {}}, {"a": "text"}, ("/a",)),
        ({"a": [1, 2]}, {"a": [1, 2]}, ()),
        ({"a": [1, 2]}, {"a": [2, 1]}, ("/a/0", "/a/1")),
        ({"a": [1]}, {"a": [1, 2]}, ("/a",)),
        ({"a": []}, {"a": [1]}, ("/a",)),
        ({"a": [{"n": 1}]}, {"a": [{"n": 1, "default": True}]}, ()),
        ({"a": [{}]}, {}, ("/a",)),
        ({"a": True}, {"a": 1}, ("/a",)),
        ({"a": 0}, {"a": False}, ("/a",)),
        ({"a": ""}, {}, ("/a",)),
        ({"a/b": {"~": 1}}, {}, ("/a~1b",)),
        ({"x": 1}, 7, ("/",)),
    ],
)
def test_differences(wanted: Any, present: Any, expected: tuple[str, ...]) -> None:
    assert differences(wanted, present) == expected


def test_differences_are_bounded() -> None:
    assert len(differences({str(index): 1 for index in range(100)}, {}, limit=5)) == 5


def test_surplus_is_for_config_maps_and_secrets() -> None:
    assert surplus(config_map(a="1"), config_map(a="2", b="1", **{"c/d": "1"})) == ("/data/b", "/data/c~1d")
    more = deployment()
    more["data"] = {"x": "1"}
    assert surplus(deployment(), more) == ()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"creationTimestamp": "1970-01-01T00:00:05Z"}, 5.0),
        ({"managedFields": [{"manager": "kubectl", "time": "1970-01-01T00:01:00Z"}]}, 60.0),
        (
            {
                "managedFields": [
                    {"manager": "kubectl", "time": "1970-01-01T00:01:00Z"},
                    {"manager": "regent-replication", "time": "1970-01-01T01:00:00Z"},
                    {"manager": "controller", "subresource": "status", "time": "1970-01-01T01:00:00Z"},
                    {"manager": "x", "time": "soon"},
                    "junk",
                ]
            },
            60.0,
        ),
        ({"regentChangedAt": 5.0, "creationTimestamp": "1970-01-01T00:01:00Z"}, 5.0),
        (None, None),
        ({"managedFields": 7, "creationTimestamp": 7}, None),
    ],
)
def test_when_somebody_changed_it_last(metadata: Any, expected: float | None) -> None:
    assert changed_at({"metadata": metadata}) == expected


def entry(manager: str, operation: str, fields: Any, **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def owned(*entries: Any) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def test_what_was_created_counts_as_applied() -> None:
    other = entry("kubectl", "Update", {"f:x": {}})
    status = entry("regent-replication", "Update", {"f:status": {}}, subresource="status")
    created = entry("regent-replication", "Update", {"f:data": {"f:a": {}}, "f:l": {"k:1": {".": {}}}})
    only = as_applied(owned(other, created, status))
    assert only == [other, status, {**created, "operation": "Apply"}]
    applied = entry("regent-replication", "Apply", {"f:data": {"f:b": {}}})
    both = as_applied(owned(created, applied, other))
    assert both is not None
    assert both[-1]["fieldsV1"] == {"f:data": {"f:a": {}, "f:b": {}}, "f:l": {"k:1": {".": {}}}}
    assert applied["fieldsV1"] == {"f:data": {"f:b": {}}}, "what was read is not changed"
    assert as_applied(owned(both[-1], other)) is None


def test_what_becomes_a_copy_goes_over_with_its_content() -> None:
    """Fails when something in an object that was taken over can never be removed, or a controller loses what it set."""
    made = entry("kubectl", "Apply", {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:ports": {"k:80": {}}}})
    status = entry("controller", "Update", {"f:status": {}}, subresource="status")
    scaled = entry("autoscaler", "Update", {"f:spec": {"f:replicas": {}}}, subresource="scale")
    edited = entry("editor", "Update", {"f:spec": {"f:ports": {"k:90": {}}}})
    moved = as_applied(owned(made, status, scaled, edited), whole=True)
    assert moved is not None
    assert moved[:-1] == [{**made, "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}}, status, scaled]
    mine = moved[-1]
    assert (mine["manager"], mine["operation"]) == ("regent-replication", "Apply")
    assert mine["fieldsV1"] == {"f:spec": {"f:ports": {"k:80": {}, "k:90": {}}}}
    assert as_applied(owned(*moved), whole=True) is None
    assert as_applied(owned(made, status)) is None


@pytest.mark.parametrize("junk", [{}, {"metadata": None}, owned(7, "x"), {"metadata": {"managedFields": "x"}}])
def test_nothing_to_correct(junk: dict[str, Any]) -> None:
    assert as_applied(junk) is None


def placement_policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


NOT_ALLOWED = "PlacementPolicy p: it is not in allowedRegions"
NO_TRANSFER = "PlacementPolicy p: crossRegionTransfer is Denied"


@pytest.mark.parametrize(
    ("spec", "target", "compliance", "expected"),
    [
        ({"allowedRegions": ["eu"]}, "us", set(), NOT_ALLOWED),
        ({"allowedRegions": ["eu", "us"]}, "us", set(), ""),
        ({"compliance": ["GDPR"]}, "us", set(), "PlacementPolicy p: the Region does not carry GDPR in spec.compliance"),
        ({"compliance": ["GDPR"]}, "us", {"GDPR"}, ""),
        ({"allowedRegions": ["eu"], "locality": "Region"}, "us", set(), ""),
        ({"allowedRegions": ["eu"], "locality": "None"}, "us", set(), ""),
        ({"allowedRegions": ["eu"], "locality": "Nonsense"}, "us", set(), NOT_ALLOWED),
        ({"crossRegionTransfer": "Denied"}, "us", set(), NO_TRANSFER),
        ({"crossRegionTransfer": "Denied"}, "eu", set(), ""),
        ({"crossRegionTransfer": "Nonsense"}, "us", set(), NO_TRANSFER),
        ({"crossRegionTransfer": "Denied", "locality": "None"}, "us", set(), NO_TRANSFER),
    ],
)  # fmt: skip
def test_placement(spec: dict[str, Any], target: str, compliance: set[str], expected: str) -> None:
    rules = [scoped_rule(placement_policy(**spec))]
    found = denied(rules, {}, source_region="eu", target_region=target, compliance=frozenset(compliance))
    assert found == expected


def test_a_rule_is_for_what_it_selects() -> None:
    selector = {"matchLabels": {"data": "personal"}}
    rules = [scoped_rule(placement_policy(selector=selector, allowedRegions=["eu"]))]
    where = {"source_region": "eu", "target_region": "us", "compliance": frozenset[str]()}
    assert denied(rules, {"data": "personal"}, **where)  # type: ignore[arg-type]
    assert denied(rules, {}, **where) == ""  # type: ignore[arg-type]
    assert not selects(selector, {})
