"""What PlacementPolicies say about copying: which targets a policy's objects may not go to.

A rule that selects the ReplicationPolicy itself (or everything) refuses the whole target; one that selects objects by
their labels refuses these. What the rules say of a region is judged as for failovers (`regent.domain.placement`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from regent.domain.labels import selects
from regent.domain.placement import ScopedRule, Transfer, judge


def denied(
    rules: Iterable[ScopedRule],
    labels: Mapping[str, str],
    *,
    source_region: str,
    target_region: str,
    compliance: frozenset[str],
) -> str:
    """Return why what has these labels may not be copied to the target, for people; "" when it may.

    Args:
        rules: of the policy's namespace.
        labels: of the ReplicationPolicy (then the whole target is refused) or of one object.
        source_region: where it would be copied from.
        target_region: where it would be copied to.
        compliance: frameworks that the target's Region carries.
    """
    fitting = sorted((item for item in rules if selects(item.selector, labels)), key=lambda item: item.rule.name)
    reasons = [
        f"PlacementPolicy {item.rule.name}: crossRegionTransfer is Denied"
        for item in fitting
        if item.transfer is Transfer.DENIED and source_region != target_region
    ]
    refused = judge((item.rule for item in fitting), target_region, compliance).denied
    return "; ".join([*reasons, refused] if refused else reasons)
