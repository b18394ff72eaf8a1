"""CloudEvents 1.0 about policies and their runs: what hooks and notifications are sent.

An event is a plain mapping in the JSON format of the specification (structured mode): the attributes are part of the
body, so that the signature of the body covers them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.domain.failover.model import Plan, PolicySpec
from regent.domain.times import rfc3339
from regent.engine.ports import Object
from regent.engine.records import status_of, write_shares
from regent.engine.resources import FAILOVER_POLICIES

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
PREFIX = "dev.regent.failover"
BEFORE = f"{PREFIX}.before"


def cloud_event(
    kind: str, policy: PolicySpec, *, identifier: str, subject: str, time: float, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the event as JSON.

    Args:
        kind: its type, such as `dev.regent.failover.started`.
        policy: its source.
        identifier: unique for the source; a repeated event has the same one.
        subject: name of the run, or of the policy where there is no run.
        time: when it happened, seconds since the epoch.
        data: what it says beyond that.
    """
    resource = FAILOVER_POLICIES
    return {
        "specversion": "1.0",
        "id": identifier,
        "type": kind,
        "source": f"/apis/{resource.api_version}/namespaces/{policy.namespace}/{resource.plural}/{policy.name}",
        "subject": subject,
        "time": rfc3339(time),
        "datacontenttype": "application/json",
        "data": {"policy": {"namespace": policy.namespace, "name": policy.name, "uid": policy.uid}, **data},
    }


def planned_data(run: Object, plan: Plan) -> dict[str, Any]:
    """What a hook is told: the run, and what it is going to do."""
    metadata, status = run["metadata"], status_of(run)
    return {
        "run": {"name": metadata["name"], "uid": metadata["uid"], "requestedBy": str(status.get("requestedBy") or "")},
        "type": plan.type.value,
        "trigger": plan.trigger.value,
        "reason": plan.reason[:1024],
        "from": plan.source,
        "to": plan.to,
        "before": write_shares(plan.before),
        "after": write_shares(plan.after),
    }
