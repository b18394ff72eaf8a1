"""The runs of a policy: finding them, and pruning the oldest with an audit line for each."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from regent.domain.errors import ConflictError, NotFoundError
from regent.domain.failover.model import PolicySpec
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over, status_of
from regent.engine.resources import FAILOVERS
from regent.engine.run_objects import audit_line
from regent.engine.store import Store

audit = logging.getLogger("regent.audit")

DEFAULT_LIMIT = 20


def runs_of(store: Store, policy: PolicySpec, *, deleted: bool = False) -> list[Object]:
    """The policy's runs, oldest first. Objects of a namesake that was deleted before count too: their epochs are why a
    new policy of the same name never uses an old fence again. `deleted`: those too that only a finalizer keeps."""
    found = [
        run
        for run in store.list(FAILOVERS, policy.namespace)
        if ((run.get("spec") or {}).get("policyRef") or {}).get("name") == policy.name
        and (deleted or not run["metadata"].get("deletionTimestamp"))
    ]
    return sorted(found, key=lambda run: (str(run["metadata"].get("creationTimestamp", "")), run["metadata"]["name"]))


async def prune(cluster: Cluster, store: Store, policy: Object, runs: Sequence[Object]) -> None:
    """Delete the oldest ended runs beyond `spec.historyLimit`; each leaves one JSON line in the log."""
    limit = int((policy.get("spec") or {}).get("historyLimit") or DEFAULT_LIMIT)
    ended = sorted(
        (run for run in runs if is_over(run)), key=lambda run: str(status_of(run).get("completionTime") or "")
    )
    for run in ended[: max(0, len(ended) - limit)]:
        metadata = run["metadata"]
        try:
            await cluster.delete(FAILOVERS, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        except (NotFoundError, ConflictError):
            pass  # gone already, or its name belongs to another object: either way there is nothing left to prune
        else:
            audit.info(audit_line(run))
        store.remove(FAILOVERS, run)
