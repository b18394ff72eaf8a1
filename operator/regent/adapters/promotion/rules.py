"""What Regent's account needs for each kind of promotion step: made from what the drivers declare and are held to.

The hub's chart grants the kinds that its value `promotion.kinds` names; a member cluster gets them by the manifests in
deploy/member. Patch and Job steps are done as the policy's ServiceAccount: for them Regent needs the verb `impersonate`
on that account, which is granted account by account.
"""

from __future__ import annotations

from typing import Any

from regent.adapters.kubernetes.rbac import grouped_rules, rules_of_calls
from regent.adapters.promotion.factory import OWN

IDENTITY: dict[str, Any] = {
    "apiGroups": [""],
    "resources": ["namespaces"],
    "resourceNames": ["kube-system"],
    "verbs": ["get"],
}
"""How a member cluster shows that it is the right one: the uid of this namespace."""


def step_rules() -> dict[str, list[dict[str, Any]]]:
    """Return the rules that each kind of step needs where its objects are, by the API's name of the kind."""
    return {
        kind.value: grouped_rules((resource, verb, "") for resource, verbs in access.items() for verb in verbs)
        for kind, (_, access) in OWN.items()
    }


def member_roles() -> dict[str, list[dict[str, Any]]]:
    """Return what the account in a member cluster needs, by the name of the role: to prove the cluster, for traffic
    targets that live there, and for each kind of promotion step."""
    steps = {kind.lower(): rules for kind, rules in step_rules().items()}
    return {"identity": [IDENTITY], "targets": rules_of_calls("adapters/traffic"), **steps}
