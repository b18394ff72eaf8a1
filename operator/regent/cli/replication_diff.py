"""`regent replication diff`: what differs between the source and its copies.

The operator compares both sides all the time, with rights that a person seldom has; its findings are in the policy's
status, and those are shown. Nothing is read from the regions by the command itself: a second comparison with other
rights and other moments would answer another question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.cli.group import EXIT_FAILURE
from regent.cli.options import Invocation, reading
from regent.cli.output import table
from regent.engine.ports import Object
from regent.engine.resources import REPLICATION_POLICIES

NOT_EQUAL = ("pending", "drifted", "conflicted", "failed")
TELLING = {"Verified": "False", "Conflicts": "True", "PruneBlocked": "True", "SourceReachable": "False"}
"""Conditions that say that something differs or is not known, and the status with which they do."""
EQUAL = "InSync"


@click.command("diff")
@click.argument("name")
@reading
def diff(invocation: Invocation, *, name: str) -> None:
    """Show what differs between the source and the copies of the ReplicationPolicy NAME, as the operator last saw it.

    Figures are complete; objects are named as far as status.targets[].errors does, up to 16 for a target. Values are
    never shown: copies may be Secrets. The exit code is 1 unless every target is InSync.

    \b
    Examples:
      regent replication diff eu-west-1-to-eu-central-1
      regent replication diff eu-west-1-to-eu-central-1 -o json
    """
    policy = invocation.read(lambda cluster: cluster.get(REPLICATION_POLICIES, invocation.namespace, name))
    document = diff_document(policy)
    invocation.write(document, lambda terminal: _screen(terminal, document))
    if not document["equal"]:
        raise click.exceptions.Exit(EXIT_FAILURE)


def diff_document(policy: Object) -> dict[str, Any]:
    """Give what differs as one document."""
    targets = [_target(row) for row in items_at(policy, ".status.targets")]
    named = [name for name in str(value_at(policy, ".status.targetRegions") or "").split(",") if name]
    seen = {target["region"] for target in targets}
    absent = [name for name in named if name not in seen]
    targets += [{"region": name, "state": "Unknown", "objects": {}, "problems": []} for name in absent]
    current = value_at(policy, ".status.observedGeneration") == value_at(policy, ".metadata.generation")
    return {
        "namespace": text_at(policy, ".metadata.namespace"),
        "policy": name_of(policy),
        "source": text_at(policy, ".status.sourceRegion"),
        "equal": bool(targets) and current and all(target["state"] == EQUAL for target in targets),
        "verified": value_at(policy, ".status.lastVerifiedTime"),
        "targets": targets,
        "findings": [
            {"type": text_at(item, "type"), "reason": text_at(item, "reason"), "message": text_at(item, "message")}
            for item in items_at(policy, ".status.conditions")
            if TELLING.get(text_at(item, "type")) == item.get("status")
        ],
    }


def _target(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = row.get("objects") or {}
    return {
        "region": text_at(row, "region"),
        "state": text_at(row, "state"),
        "objects": {name: counts[name] for name in ("desired", *NOT_EQUAL) if name in counts},
        "problems": list(row.get("errors") or ()),
    }


def _screen(terminal: Console, document: Mapping[str, Any]) -> RenderableType | None:
    if document["equal"]:
        verified = document["verified"]
        terminal.print(f"Nothing differs: all copies of {document['policy']} are equal, verified {verified}.")
        return None
    if not document["targets"]:
        terminal.print(f"Nothing is known yet: the operator has not compared anything for {document['policy']}.")
        return None
    rows = [
        [target["region"], target["state"], *(str(target["objects"].get(name, "-")) for name in NOT_EQUAL)]
        for target in document["targets"]
    ]
    problems = [[target["region"], problem] for target in document["targets"] for problem in target["problems"]]
    problems += [["", f"{item['type']}: {item['message']}"] for item in document["findings"]]
    parts: list[RenderableType] = [table(["region", "state", *NOT_EQUAL], rows)]
    if problems:
        parts += [Text(), table(["region", "difference"], problems)]
    return Group(*parts)
