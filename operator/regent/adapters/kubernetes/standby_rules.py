"""What Regent's account needs in a standby hub, beside what it needs in every hub: to make copies of what the hub that
it follows knows. The chart grants it where the setting `standby.follow` is given, and Secrets where `standby.secrets`
is. What is needed in the followed hub is in deploy/standby.
"""

from __future__ import annotations

from typing import Any

from regent.adapters.kubernetes.rbac import grouped_rules
from regent.engine.resources import FAILOVER_POLICIES, NAMESPACES, SECRETS
from regent.engine.standby.copies import COPIED_KINDS


def standby_rules() -> dict[str, list[dict[str, Any]]]:
    """Return the rules by where they are bound, as `rbac.operator_rules` does. `standby`: for a ClusterRole,
    `standbySecrets`: for a Role in Regent's namespace and in those of the setting `secretNamespaces`."""
    kinds = [(kind, verb, "") for kind in COPIED_KINDS for verb in ("get", "create", "update", "delete")]
    return {
        "standby": grouped_rules([*kinds, (FAILOVER_POLICIES, "update", "status"), (NAMESPACES, "create", "")]),
        "standbySecrets": grouped_rules((SECRETS, verb, "") for verb in ("get", "create", "update")),
    }
