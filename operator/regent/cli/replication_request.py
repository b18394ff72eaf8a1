"""Making a ReplicationPolicy for a person: the regions are there, and what exists under its name is not overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from regent.cli.editing import differences
from regent.cli.fields import name_of
from regent.cli.group import Failure
from regent.cli.values import listed
from regent.domain.errors import AlreadyExistsError, ForbiddenError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import REGIONS, REPLICATION_POLICIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A policy as a command asks for it."""

    name: str
    namespace: str
    source: str
    targets: tuple[str, ...]
    spec: dict[str, Any]
    """What the command says besides source and targets."""
    target_namespace: str = ""

    def manifest(self) -> Object:
        """The object as it is to be created."""
        place = {"namespace": self.target_namespace} if self.target_namespace else {}
        return {
            "apiVersion": REPLICATION_POLICIES.api_version,
            "kind": REPLICATION_POLICIES.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "source": {"region": self.source},
                "targets": [{"region": region, **place} for region in self.targets],
                **self.spec,
            },
        }


def target_regions(source: str, targets: str, *, target_namespace: str = "") -> tuple[str, ...]:
    """Read regions with commas between them.

    Raises:
        click.UsageError: there is none, one comes twice, or the source is one of them and stands in its own way.
    """
    regions = listed(targets)
    if not regions:
        raise click.UsageError("name at least one region that gets copies")
    if len(set(regions)) != len(regions):
        raise click.UsageError(f"a region comes twice in {targets[:80]!r}")
    if source in regions and not target_namespace:
        raise click.UsageError(f"{source} is the source: a copy there needs --target-namespace")
    return regions


async def request_policy(cluster: Cluster, wanted: Wanted) -> tuple[Object, bool]:
    """Create the policy; gives it as it is, and whether it is new.

    Raises:
        Failure: a region does not exist, or another policy has the name.
    """
    await _check_regions(cluster, wanted)
    manifest = wanted.manifest()
    try:
        return await cluster.create(REPLICATION_POLICIES, manifest), True
    except AlreadyExistsError:
        found = await cluster.get(REPLICATION_POLICIES, wanted.namespace, wanted.name)
    different = differences(manifest["spec"], found.get("spec") or {})
    if different:
        raise Failure(
            f"ReplicationPolicy {wanted.name} exists and differs in {', '.join(different)}; change it with kubectl "
            "edit, or choose another name with --name"
        )
    return found, False


async def _check_regions(cluster: Cluster, wanted: Wanted) -> None:
    """A misspelt region would be told by the operator only, in the policy's condition Ready."""
    try:
        known = {name_of(region) for region in await cluster.list(REGIONS)}
    except ForbiddenError:
        return
    missing = [name for name in (wanted.source, *wanted.targets) if name not in known]
    if missing:
        there = ", ".join(sorted(known)) or "none"
        raise Failure(f"there is no Region {', '.join(missing)}; there are: {there}. See: regent region add")
