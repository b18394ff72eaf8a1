"""Which policies a command such as `failover execute eu-west-1 eu-central-1` is about. Pure: from policies as read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import click

from regent.cli.fields import items_at, name_of, text_at, texts_at, value_at
from regent.cli.group import Failure
from regent.engine.ports import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the person asked for. `name` and `every` as in `--policy` and `--all-policies`; `to` "": any region."""

    source: str
    to: str = ""
    name: str = ""
    every: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """Policies that a run is made for, and those that are told apart from them with the reason."""

    policies: list[Object]
    there: list[Object] = field(default_factory=list)
    """They have the destination active already: nothing is left to do."""
    unable: list[tuple[Object, str]] = field(default_factory=list)


def select(policies: Iterable[Object], wanted: Wanted) -> Selected:
    """Choose the policies.

    Raises:
        click.UsageError: several policies could be meant and none was named.
        Failure: no policy is meant, or the named one cannot do it.
    """
    found = sorted(policies, key=place)
    if wanted.name:
        found = [policy for policy in found if name_of(policy) == wanted.name]
        if not found:
            raise Failure(f"there is no FailoverPolicy {wanted.name} here; see: regent status")
    leaving = [policy for policy in found if wanted.source in active_in(policy)]
    there = [policy for policy in found if policy not in leaving and _is_there(policy, wanted)]
    if not leaving:
        if there:
            return Selected(policies=[], there=there)
        raise Failure(_nowhere(found, wanted))
    unable = [(policy, reason) for policy in leaving if (reason := _unable(policy, wanted))]
    able = [policy for policy in leaving if not _unable(policy, wanted)]
    if not able:
        raise Failure("; ".join(f"{name_of(policy)}: {reason}" for policy, reason in unable))
    if len(able) > 1 and not wanted.every:
        raise click.UsageError(
            f"{wanted.source} is active in {len(able)} policies: {_listed(able)}. Choose one with --policy NAME, "
            "or all of them with --all-policies"
        )
    return Selected(policies=able, there=there if wanted.every else [], unable=unable if wanted.every else [])


def active_in(policy: Object) -> Sequence[str]:
    """Give the regions that are active by the policy's status."""
    active = value_at(policy, ".status.activeRegion")
    return [str(active)] if active else texts_at(policy, ".status.activeRegions")


def regions_in(policy: Object) -> list[str]:
    """Give the regions that the policy lists."""
    return [text_at(item, "name") for item in items_at(policy, ".spec.regions")]


def place(policy: Object) -> tuple[str, str]:
    """Give what policies are sorted by: namespace and name."""
    return str(value_at(policy, ".metadata.namespace")), name_of(policy)


def _is_there(policy: Object, wanted: Wanted) -> bool:
    return bool(wanted.to) and wanted.to in active_in(policy) and wanted.source in regions_in(policy)


def _unable(policy: Object, wanted: Wanted) -> str:
    if wanted.to and wanted.to not in regions_in(policy):
        return f"spec.regions does not list {wanted.to} ({', '.join(regions_in(policy))})"
    return ""


def _nowhere(policies: Sequence[Object], wanted: Wanted) -> str:
    if not policies:
        return "there is no FailoverPolicy here; name another namespace with -n"
    if wanted.name:
        (policy,) = policies
        active = ", ".join(active_in(policy))
        if not active:
            return f"{wanted.name} has not found out yet what is active; see: regent status {wanted.name}"
        return f"{wanted.source} is not active in {wanted.name}: {active} is"
    return f"{wanted.source} is active in no policy here. Active are: {_listed(policies)}"


def _listed(policies: Iterable[Object]) -> str:
    return ", ".join(
        f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)} ({','.join(active_in(policy)) or 'not known yet'})"
        for policy in policies
    )
