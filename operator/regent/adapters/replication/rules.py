"""What Regent's account needs for copies, by category: in a region that copies come from, and in one that gets them.

The hub's chart grants the categories that its value `replication.categories` names; a member cluster gets them by the
manifests in deploy/member. Kinds of category State are the users' own: whoever copies them grants the same verbs.
"""

from __future__ import annotations

from typing import Any

from regent.adapters.kubernetes.rbac import grouped_rules
from regent.domain.replication.kinds import RBAC_GROUP, REPLICATION_DESTINATION, kinds_of
from regent.domain.replication.model import Category, KindRef, ResourceSelector, StorageDriver
from regent.engine.resources import Resource

VERBS = ("get", "list", "watch", "create", "patch", "delete")
"""What is done with copies. A region that copies only come from needs the first three."""


def category_rules() -> dict[str, list[dict[str, Any]]]:
    """Return the rules by the name of the category; Secrets and RBAC are apart, as in a policy."""
    plain = kinds_of(ResourceSelector(category=Category.CONFIG))
    secrets = kinds_of(ResourceSelector(category=Category.CONFIG, include_secrets=True))
    access = kinds_of(ResourceSelector(category=Category.CONFIG, include_rbac=True))
    kinds: dict[str, list[KindRef]] = {
        "Config": list(plain),
        "Secrets": [kind for kind in secrets if kind not in plain],
        "RBAC": [kind for kind in access if kind not in plain],
    }
    for category in (Category.WORKLOAD, Category.NETWORK, Category.VM):
        kinds[category.value] = list(kinds_of(ResourceSelector(category=category)))
    storage = [kinds_of(ResourceSelector(category=Category.STORAGE, storage=driver)) for driver in StorageDriver]
    kinds["Storage"] = list(dict.fromkeys(kind for found in storage for kind in found))
    return {name: grouped_rules([*_needs(found), *_reads(name)]) + _more(name) for name, found in kinds.items()}


def _needs(kinds: list[KindRef], verbs: tuple[str, ...] = VERBS) -> list[tuple[Resource, str, str]]:
    return [
        (Resource(kind.group, kind.version, kind.plural, kind.kind, kind.namespaced), verb, "")
        for kind in kinds
        for verb in verbs
    ]


def _reads(category: str) -> list[tuple[Resource, str, str]]:
    """What is read in targets and never copied."""
    return _needs([REPLICATION_DESTINATION], VERBS[:3]) if category == "Storage" else []


def _more(category: str) -> list[dict[str, Any]]:
    """Whoever writes a Role must have what it grants, or the right to go beyond that."""
    if category != "RBAC":
        return []
    return [
        {"apiGroups": [RBAC_GROUP], "resources": ["roles"], "verbs": ["escalate"]},
        {"apiGroups": [RBAC_GROUP], "resources": ["roles", "clusterroles"], "verbs": ["bind"]},
    ]
