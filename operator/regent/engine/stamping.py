"""What is written into a Failover at admission: the name of whoever asked for it, and of whoever approved it.

The same as the chart's MutatingAdmissionPolicy writes, for API servers that serve none. It is the user that the API
server has authenticated who counts, and what the client claims is overwritten. Pure: from the API server's question to
a JSON patch. Neighbour: `requesters` reads the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.engine.requesters import APPROVED_BY, REQUESTED_BY

Operation = dict[str, Any]
"""One operation of a JSON patch (RFC 6902)."""

_NOTHING = ("", False, False)


def stamps(request: Mapping[str, Any]) -> list[Operation]:
    """Return the patch that makes both names true.

    Args:
        request: `request` of an AdmissionReview of admission.k8s.io/v1, about a Failover.
    """
    user = str((request.get("userInfo") or {}).get("username") or "")
    new, old = request.get("object") or {}, request.get("oldObject") or {}
    created = request.get("operation") == "CREATE"
    if not user or not new:
        return []
    permitted = _permission(new) != (_NOTHING if created else _permission(old))
    wanted = {
        REQUESTED_BY: user if created else _annotation(old, REQUESTED_BY),
        APPROVED_BY: user if permitted else _annotation(old, APPROVED_BY),
    }
    changes = [
        change for name, value in wanted.items() if (change := _change(name, _annotation(new, name), value)) is not None
    ]
    bare = not (new.get("metadata") or {}).get("annotations")
    return [{"op": "add", "path": "/metadata/annotations", "value": {}}, *changes] if bare and changes else changes


def _permission(run: Mapping[str, Any]) -> tuple[str, bool, bool]:
    """The part of `spec.control` that permits something."""
    control = (run.get("spec") or {}).get("control") or {}
    plan, loss, force = (control.get(name) for name in ("approvedPlan", "acceptDataLoss", "force"))
    return str(plan or ""), bool(loss), bool(force)


def _annotation(run: Mapping[str, Any], name: str) -> str:
    return str(((run.get("metadata") or {}).get("annotations") or {}).get(name) or "")


def _change(name: str, present: str, wanted: str) -> Operation | None:
    if present == wanted:
        return None
    path = f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"
    return {"op": "add", "path": path, "value": wanted} if wanted else {"op": "remove", "path": path}
