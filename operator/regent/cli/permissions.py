"""What an API server's refusal means for the person: which permission is missing, and which role would give it."""

from __future__ import annotations

import re

_DENIED = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[\w./-]+)" in API group "(?P<group>[\w.-]*)"'
    r'(?: in the namespace "(?P<namespace>[\w-]+)"| at the cluster scope)?'
)
_READING = frozenset({"get", "list", "watch"})


def missing_permission(message: str) -> str:
    """Put the missing permission before what the server said; the message as it is when it is about something else."""
    denied = _DENIED.search(message)
    if denied is None:
        return message
    verb, resource, namespace = denied["verb"], denied["resource"], denied["namespace"]
    name = f"{resource}.{denied['group']}" if denied["group"] else resource
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    lacking = f"you may not {verb} {name} {where}"
    if denied["group"] != "regent.dev":
        return f"{lacking}. The API server said: {message}"
    return f"{lacking}; the ClusterRole {_role(verb, resource)} of Regent's chart allows it. The API server: {message}"


def _role(verb: str, resource: str) -> str:
    """Name the role of the chart (templates/user-roles.yaml) by its end; its beginning is the release's name."""
    if verb in _READING:
        return "…-viewer (part of view, edit and admin)"
    if resource.startswith("regions"):
        return "…-operator (bound cluster-wide)"
    return "…-editor (part of edit and admin)"
