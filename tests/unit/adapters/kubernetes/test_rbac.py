"""The access rules follow the code: a call that is planted brings its permission, nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from regent.adapters.kubernetes.rbac import UnreadableCallError, operator_rules
from regent.settings import Settings


def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def planted(tmp_path: Path, code: str, name: str = "engine/part.py") -> dict[str, list[dict[str, Any]]]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return operator_rules(tmp_path)


def test_a_planted_call_brings_exactly_its_verb(tmp_path: Path) -> None:
    before = granted(operator_rules(tmp_path)["cluster"])
    rules = planted(tmp_path, "async def f(self): await self._cluster.delete(FAILOVERS, 'a', 'b', uid='c')")
    assert granted(rules["cluster"]) - before == {("failovers", "delete")}


def test_a_status_transaction_needs_get_and_the_subresource(tmp_path: Path) -> None:
    before = granted(operator_rules(tmp_path)["cluster"])
    rules = planted(tmp_path, "async def f(s): await s.status.transact(resources.REGIONS, '', 'b', g)")
    assert granted(rules["cluster"]) - before == {("regions", "get"), ("regions/status", "update")}


def test_reading_the_store_needs_nothing(tmp_path: Path) -> None:
    before = operator_rules(tmp_path)
    rules = planted(tmp_path, "x = self._store.get(SECRETS, 'a', 'b'); y = self._store.list(NAMESPACES)")
    assert rules == before


def test_the_command_line_acts_as_its_user(tmp_path: Path) -> None:
    before = operator_rules(tmp_path)
    assert planted(tmp_path, "cluster.delete(REGIONS, '', 'a', uid='x')", "cli/part.py") == before


def test_secrets_and_leases_are_bound_to_namespaces(tmp_path: Path) -> None:
    rules = planted(
        tmp_path,
        "cluster.get(SECRETS, 'a', 'b'); cluster.get(LEASES, 'a', 'b'); cluster.create(LEASES, {}); "
        "cluster.replace(LEASES, {})",
    )
    assert not {"secrets", "leases"} & {resource for resource, _ in granted(rules["cluster"])}
    assert granted(rules["namespace"]) == {
        ("leases", "get"),
        ("leases", "create"),
        ("leases", "update"),
        ("secrets", "get"),
    }
    assert granted(rules["secretNamespaces"]) == {("secrets", "get")}
    # Agents have Leases named after their regions, which the operator reads; it writes its own alone.
    [named] = [rule for rule in rules["namespace"] if rule["verbs"] == ["update"] and rule["resources"] == ["leases"]]
    assert named["resourceNames"] == [Settings().leader_election.lease_name]


@pytest.mark.parametrize("code", ["self._cluster.get(resource, 'a', 'b')", "failover_cluster.create(kind(), {})"])
def test_a_call_that_cannot_be_read_is_an_error(tmp_path: Path, code: str) -> None:
    with pytest.raises(UnreadableCallError, match=r"engine/part\.py:1"):
        planted(tmp_path, code)


def test_the_real_rules_name_no_wildcard_and_no_secret_everywhere() -> None:
    rules = operator_rules()
    for rule in rules["cluster"] + rules["namespace"] + rules["secretNamespaces"]:
        assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
    cluster = granted(rules["cluster"])
    assert ("regions", "watch") in cluster
    assert ("failoverpolicies/status", "update") in cluster
    assert not [resource for resource, _ in cluster if resource in ("secrets", "leases", "pods", "nodes")]
    assert ("regions", "update") not in cluster, "a Region's spec is its user's alone"
