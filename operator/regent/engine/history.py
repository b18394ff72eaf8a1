"""The runs of a policy: finding them, and pruning the oldest with an audit line for each."""

from __future__ import annotations

import logging

from regent.domain.errors import ConflictError, NotFoundError
from regent.domain.failover.memory import forgettable
from regent.domain.failover.model import PolicySpec
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over, run_record
from regent.engine.resources import FAILOVERS
from regent.engine.run_context import Context
from regent.engine.run_objects import audit_line
from regent.engine.store import Store

audit = logging.getLogger("regent.audit")

DEFAULT_LIMIT = 20
LOOK_AGAIN = 60.0
"""Seconds between two looks whether a rule still counts what is beyond the limit."""


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


async def prune(cluster: Cluster, store: Store, context: Context) -> float | None:
    """Delete the oldest ended runs beyond `spec.historyLimit`, but for those that a rule still counts; each leaves one
    JSON line in the log. Return the seconds after which more may go, None when none is beyond the limit."""
    limit = int((context.policy.get("spec") or {}).get("historyLimit") or DEFAULT_LIMIT)
    ended = [run for run in context.runs if is_over(run)]
    if len(ended) <= limit:
        return None
    records = [run_record(run) for run in ended]
    names = forgettable(records, context.spec, limit=limit, wall_time=context.snapshot.wall_time)
    by_name = {run["metadata"]["name"]: run for run in ended}
    for run in [by_name[name] for name in names]:
        metadata = run["metadata"]
        try:
            await cluster.delete(FAILOVERS, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        except (NotFoundError, ConflictError):
            pass  # gone already, or its name belongs to another object: either way there is nothing left to prune
        else:
            audit.info(audit_line(run))
        store.remove(FAILOVERS, run)
    return LOOK_AGAIN if len(ended) - len(names) > limit else None
