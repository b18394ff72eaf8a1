"""The operator's access rules, made from what its code calls: no more, no less.

The source of Regent is read (not run) for calls such as `cluster.replace(HTTP_ROUTES, …)` and `status.transact(REGIONS,
…)` whose first argument is a constant of `engine/resources.py`. To these come list and watch for the watched kinds. A
call that is added changes the chart's role by itself; one that is taken away takes its permission with it. A call on a
cluster whose resource cannot be read off the source is an error, except in the few modules that are passed it.

Leases and ConfigMaps are those in Regent's own namespace, and Secrets those in that and in the namespaces of the
setting `secretNamespaces`; all other kinds are the users', in any namespace. Of the Leases only Regent's own may be
written; the others are its agents'. The command line is left out, which acts as its user, and so are the agent, which
has an account of its own (deploy/agent), and what only a standby hub does (`regent.adapters.kubernetes.standby_rules`).
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

import regent
from regent.engine import resources
from regent.engine.resources import CONFIG_MAPS, LEASES, NAMESPACES, SECRETS, Resource
from regent.engine.resync import WATCHED

SOURCE = Path(regent.__file__).parent
LEFT_OUT = ("cli/", "api/", "engine/agent/", "engine/standby/", "agent_wiring.py", "adapters/kubernetes/rbac.py")
PASSED_ON = frozenset(
    {
        "engine/status.py",
        "engine/resync.py",
        "adapters/promotion/objects.py",
        "engine/replication/bodies.py",
        "engine/replication/copier.py",
        "engine/replication/farewell.py",
        "engine/replication/losers.py",
        "engine/replication/runs.py",
        "engine/replication/session.py",
    }
)
"""Modules that get the resource from their callers, whose calls are read instead; those of the promotion drivers and
of the replicator make rules of their own (`regent.adapters.promotion.rules`, `regent.adapters.replication.rules`)."""

VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    # method: (verb, subresource) …
    "get": (("get", ""),),
    "list": (("list", ""),),
    "create": (("create", ""),),
    "replace": (("update", ""),),
    "replace_status": (("update", "status"),),
    "patch": (("patch", ""),),
    "delete": (("delete", ""),),
    "transact": (("get", ""), ("update", "status")),
}
ORDER = ("get", "list", "watch", "create", "update", "patch", "delete")

_Need = tuple[Resource, str, str]
_Rule = dict[str, Any]


class UnreadableCallError(Exception):
    """A call on a cluster whose resource is not a constant."""


def operator_rules(source: Path = SOURCE, *, lease_name: str = "regent") -> dict[str, list[_Rule]]:
    """Return the rules by where they are bound.

    Args:
        source: directory of the package `regent`.
        lease_name: the setting `leaderElection.leaseName`.

    Returns:
        `cluster`: for a ClusterRole. `namespace`: for a Role in Regent's own namespace. `secretNamespaces`: for a Role
        in each namespace of the setting `secretNamespaces`.
    """
    needs = set(_watched()) | set(_called(source))
    secret_needs = [need for need in needs if need[0] == SECRETS]
    own = [need for need in needs if need[0] == CONFIG_MAPS]
    return {
        "cluster": grouped_rules(need for need in needs if need[0] not in (LEASES, SECRETS, CONFIG_MAPS, NAMESPACES))
        + _identity_rules(need for need in needs if need[0] == NAMESPACES),
        "namespace": _lease_rules((need for need in needs if need[0] == LEASES), lease_name)
        + grouped_rules([*own, *secret_needs]),
        "secretNamespaces": grouped_rules(secret_needs),
    }


def rules_of_calls(folder: str, source: Path = SOURCE) -> list[_Rule]:
    """Return the rules for what the modules of one folder (`adapters/traffic`) call, without watches."""
    return grouped_rules(
        need
        for path in sorted((source / folder).rglob("*.py"))
        for need in _calls_of(path.relative_to(source).as_posix(), ast.parse(path.read_text(), path.name))
    )


def _watched() -> Iterator[_Need]:
    for watch in WATCHED:
        for verb in ("list", "watch"):
            yield watch.resource, verb, ""


def _called(source: Path) -> Iterator[_Need]:
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source).as_posix()
        if not name.startswith(LEFT_OUT):
            yield from _calls_of(name, ast.parse(path.read_text(), name))


def _calls_of(name: str, tree: ast.Module) -> Iterator[_Need]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        receiver = _last_name(node.func.value)
        if node.func.attr not in VERBS or "store" in receiver or receiver in ("super", "self"):
            continue
        resource = getattr(resources, _last_name(node.args[0]), None)
        if isinstance(resource, Resource):
            for verb, subresource in VERBS[node.func.attr]:
                yield resource, verb, subresource
        elif receiver.endswith("cluster") and name not in PASSED_ON and not isinstance(node.args[0], ast.Constant):
            raise UnreadableCallError(
                f"{name}:{node.lineno}: {receiver}.{node.func.attr} must name a constant of engine/resources.py first, "
                "or its permission cannot be granted"
            )


def _last_name(node: ast.expr) -> str:
    """Return `c` of `a.b.c`, "" for what is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def grouped_rules(needs: Iterable[_Need]) -> list[_Rule]:
    """Return rules, one for each set of resources of a group that need the same verbs."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for resource, verb, subresource in needs:
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        verbs.setdefault((resource.group, plural), set()).add(verb)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, plural), wanted in verbs.items():
        grouped.setdefault((group, tuple(sorted(wanted, key=ORDER.index))), []).append(plural)
    return [
        {"apiGroups": [group], "resources": sorted(plurals), "verbs": list(wanted)}
        for (group, wanted), plurals in sorted(grouped.items(), key=lambda rule: (rule[0][0], sorted(rule[1])))
    ]


def _identity_rules(needs: Iterable[_Need]) -> list[_Rule]:
    """Of the namespaces only kube-system is read, whose uid tells which cluster the hub is."""
    return [{**rule, "resourceNames": ["kube-system"]} for rule in grouped_rules(needs)]


def _lease_rules(needs: Iterable[_Need], name: str) -> list[_Rule]:
    """Narrow writing to the one Lease by name. Creating cannot be narrowed, because RBAC does not know the name then;
    reading is not, because a region's agent has a Lease named after the region."""
    verbs = {verb for _, verb, _ in needs}
    free = sorted(verbs & {"create", "get"}, key=ORDER.index)
    named = sorted(verbs - {"create", "get"}, key=ORDER.index)
    rules: list[_Rule] = []
    if free:
        rules.append({"apiGroups": [LEASES.group], "resources": [LEASES.plural], "verbs": free})
    if named:
        rule: _Rule = {"apiGroups": [LEASES.group], "resources": [LEASES.plural], "resourceNames": [name]}
        rules.append({**rule, "verbs": named})
    return rules


def main(arguments: list[str]) -> None:
    """Print the rules, as YAML or (`--output json`) as JSON."""
    rules = operator_rules()
    if "json" in arguments or "--output=json" in arguments:
        print(json.dumps(rules, indent=2))  # noqa: T201
    else:
        print(yaml.safe_dump(rules, sort_keys=False), end="")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
