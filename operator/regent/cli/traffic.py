"""`regent traffic`: which share of the traffic each region has, and shares set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console, RenderableType

from regent.cli.editing import edit
from regent.cli.fields import EMPTY, items_at, name_of, percent, text_at, value_at
from regent.cli.group import Failure
from regent.cli.options import Invocation, reading
from regent.cli.output import table
from regent.cli.selection import place, regions_in
from regent.cli.values import Duration, parse_shares
from regent.domain.times import parse_rfc3339, rfc3339
from regent.domain.traffic import shares
from regent.engine.ports import Cluster, Object
from regent.engine.records import read_shares, write_shares
from regent.engine.resources import FAILOVER_POLICIES

LONGEST = 24 * 3600.0
"""Seconds of the longest override, as the API has it."""


@click.group()
def traffic() -> None:
    """Show and set the share of the traffic that each region has."""


@traffic.command("get")
@click.option("--policy", metavar="NAME", default="", help="Only this policy.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Policies of all namespaces.")
@reading
def get(invocation: Invocation, *, policy: str, all_namespaces: bool) -> None:
    """Show the shares that were decided, and those that are wanted.

    WANTED is what a person asked for: spec.regions of an ActiveActive policy, or an override and its end.

    \b
    Examples:
      regent traffic get --policy shop
      regent traffic get -A -o json
    """
    namespace = "" if all_namespaces else invocation.namespace

    async def listed(cluster: Cluster) -> list[Object]:
        if policy and not all_namespaces:
            return [await cluster.get(FAILOVER_POLICIES, namespace, policy)]
        return [item for item in await cluster.list(FAILOVER_POLICIES, namespace) if policy in ("", name_of(item))]

    policies = sorted(invocation.read(listed), key=place)
    now = invocation.environment.wall()

    def screen(terminal: Console) -> RenderableType | None:
        if not policies:
            terminal.print("No policies.")
            return None
        return table(
            ["namespace", "policy", "topology", "region", "share", "wanted", "verification"],
            (row for item in policies for row in _rows(item, now)),
        )

    invocation.write({"items": [_document(item, now) for item in policies]}, screen)


def _rows(policy: Object, now: float) -> list[list[str]]:
    decided, wanted, until = read_shares(items_at(policy, ".status.distribution")), *_wanted(policy, now)
    proofs = ", ".join(sorted({text_at(item, "verification") for item in items_at(policy, ".status.targets")}))
    names = list(dict.fromkeys([*regions_in(policy), *decided]))
    return [
        [
            text_at(policy, ".metadata.namespace"),
            name_of(policy),
            text_at(policy, ".spec.topology"),
            name,
            percent(decided.get(name, 0)) if decided else EMPTY,
            (percent(wanted.get(name, 0)) + (f" until {until}" if until else "")) if wanted else EMPTY,
            proofs or EMPTY,
        ]
        for name in names
    ]


def _document(policy: Object, now: float) -> dict[str, Any]:
    wanted, until = _wanted(policy, now)
    return {
        "namespace": text_at(policy, ".metadata.namespace"),
        "policy": name_of(policy),
        "topology": text_at(policy, ".spec.topology"),
        "distribution": write_shares(read_shares(items_at(policy, ".status.distribution"))),
        "wanted": write_shares(wanted),
        "expirationTime": until,
    }


def _wanted(policy: Object, now: float) -> tuple[Mapping[str, int], str]:
    """Give the shares that a person asked for, {} for none, and until when, "" for always."""
    override = value_at(policy, ".spec.trafficOverride")
    if override and parse_rfc3339(override["expirationTime"]) > now:
        return read_shares(override.get("distribution")), str(override["expirationTime"])
    entries = items_at(policy, ".spec.regions")
    given = {text_at(item, "name"): item.get("weightPercent") for item in entries}
    return {name: share for name, share in given.items() if share is not None}, ""


@traffic.command("set")
@click.argument("distribution", nargs=-1, metavar="REGION=PERCENT...")
@click.option(
    "--policy", metavar="NAME", default="", help="Whose traffic; not needed when the namespace has one policy."
)
@click.option(
    "--for",
    "span",
    type=Duration(longest=LONGEST, longest_text="24h"),
    help="How long it holds, at most 24h; required but for ActiveActive.",
)
@click.option("--clear", is_flag=True, help="End an override now.")
@reading
def set_(
    invocation: Invocation, *, distribution: tuple[str, ...], policy: str, span: float | None, clear: bool
) -> None:
    """Set the shares of the regions by hand.

    With topology ActiveActive they become the shares of the policy (spec.regions). With any other topology they are an
    override (spec.trafficOverride) that ends after --for. Either is carried out by the operator as a Rebalance run. The
    shares add up to 100; regions that are left out get 0.

    \b
    Examples:
      regent traffic set --policy shop eu-west-1=60 eu-central-1=40
      regent traffic set --policy shop eu-central-1=100 --for 1h
      regent traffic set --policy shop --clear
    """
    if clear and (distribution or span is not None):
        raise click.UsageError("--clear takes no shares and no --for")
    wanted = {} if clear else parse_shares(distribution)
    if span is not None and span <= 0:
        raise click.UsageError("--for: write how long the shares hold, such as 1h")
    namespace = invocation.namespace
    now = invocation.environment.wall()

    def change(obj: Object) -> None:
        if clear:
            obj["spec"].pop("trafficOverride", None)
        elif obj["spec"].get("topology") == "ActiveActive":
            _set_weights(obj, wanted, span)
        else:
            _set_override(obj, wanted, span, now)

    async def write(cluster: Cluster) -> tuple[Object, bool]:
        name = policy or await _only_policy(cluster, namespace)
        return await edit(cluster, FAILOVER_POLICIES, namespace, name, change)

    written, changed = invocation.read(write)
    document = {**_document(written, now), "changed": changed}

    def screen(terminal: Console) -> None:
        asked, until = _wanted(written, now)
        if not changed:
            terminal.print(f"{name_of(written)}: nothing to change.")
        elif clear:
            terminal.print(
                f"{name_of(written)}: the override has ended; the operator restores the policy's own shares."
            )
        else:
            ends = f" until {until}" if until else ""
            terminal.print(f"{name_of(written)}: asked for {shares.describe(asked)}{ends}. See: regent traffic get")

    invocation.write(document, screen)


async def _only_policy(cluster: Cluster, namespace: str) -> str:
    policies = sorted(await cluster.list(FAILOVER_POLICIES, namespace), key=place)
    if not policies:
        raise Failure(f"there is no FailoverPolicy in namespace {namespace}")
    if len(policies) > 1:
        raise click.UsageError(f"name one of them with --policy: {', '.join(map(name_of, policies))}")
    return name_of(policies[0])


def _set_weights(policy: Object, wanted: Mapping[str, int], span: float | None) -> None:
    if span is not None:
        raise click.UsageError(
            f"{name_of(policy)} is ActiveActive: the shares become its own and stay; leave --for out"
        )
    _check_regions(policy, wanted)
    for entry in policy["spec"]["regions"]:
        entry["weightPercent"] = wanted.get(entry["name"], 0)


def _set_override(policy: Object, wanted: Mapping[str, int], span: float | None, now: float) -> None:
    if span is None:
        topology = text_at(policy, ".spec.topology")
        raise click.UsageError(f"{name_of(policy)} is {topology}: say for how long, such as --for 1h (at most 24h)")
    _check_regions(policy, wanted)
    policy["spec"]["trafficOverride"] = {
        "distribution": write_shares({name: wanted.get(name, 0) for name in regions_in(policy)}),
        "expirationTime": rfc3339(now + span),
    }


def _check_regions(policy: Object, wanted: Mapping[str, int]) -> None:
    strange = [name for name in wanted if name not in regions_in(policy)]
    if strange:
        raise click.UsageError(
            f"{name_of(policy)} does not list {', '.join(strange)}; its regions are {', '.join(regions_in(policy))}"
        )
