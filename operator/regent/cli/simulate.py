"""`regent simulate`: what would be decided if a region failed, on the live objects, without touching anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.api.v1alpha1.convert_region import region_plan
from regent.cli.fields import name_of, value_at
from regent.cli.group import EXIT_FAILURE, Failure
from regent.cli.options import Invocation, reading
from regent.cli.output import facts
from regent.cli.run_screen import candidates_table
from regent.cli.selection import place, regions_in
from regent.domain.errors import ForbiddenError, NotFoundError
from regent.domain.failover.faults import Fault, Measurable
from regent.domain.health.plan import RegionPlan
from regent.domain.traffic import shares
from regent.engine.agent_objects import agent_name, presence
from regent.engine.ports import Cluster, Object
from regent.engine.records import write_shares
from regent.engine.resources import (
    CONFIG_MAPS,
    FAILOVER_POLICIES,
    FAILOVERS,
    LEASES,
    PLACEMENT_POLICIES,
    REGIONS,
    REPLICATION_POLICIES,
)
from regent.engine.run_objects import candidate_rows
from regent.engine.simulation import Agents, Outcome, Simulated, enabled_healths, simulate, snapshot_of, unfinished
from regent.engine.store import Store

GOOD = frozenset({Outcome.MOVES, Outcome.UNAFFECTED})


SURROUNDINGS = (FAILOVERS, PLACEMENT_POLICIES, REPLICATION_POLICIES)
"""What is read of each namespace that has a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What would happen to one policy."""

    policy: str
    result: Simulated
    open_runs: list[str]


@click.command("simulate")
@click.option(
    "--region",
    "regions",
    metavar="NAME",
    multiple=True,
    required=True,
    help="What fails; several times for several at once.",
)
@click.option(
    "--fault",
    type=click.Choice([fault.value for fault in Fault], case_sensitive=False),
    default=Fault.DOWN.value,
    show_default=True,
    help="down: no answer. degraded: too many errors. slow: p95 latency too high. drained: taken out by a person.",
)
@click.option("--policy", metavar="NAME", default="", help="Only this policy, in the namespace.")
@click.option(
    "--operator-namespace",
    metavar="NAME",
    default="regent-system",
    show_default=True,
    help="Where the Leases of the regions' agents are.",
)
@reading
def simulate_(
    invocation: Invocation, *, regions: tuple[str, ...], fault: str, policy: str, operator_namespace: str
) -> None:
    """Show what would be decided if a region failed now. Nothing is touched, and nothing is written.

    The decision is the operator's own, made on what the objects show at this moment, for every policy of all namespaces
    (of your namespace with -n, or when you may not see the others). A region that is down is taken to be down for every
    vantage, and its agent, if it has one, to be cut off; the operator is taken to run and to trust itself.

    The exit code is 0 when every policy that the region carries traffic of would be moved by itself, also when there is
    none, and 1 when one of them would be held back, would wait for a person, or would stay where it is.

    \b
    Examples:
      regent simulate --region eu-west-1
      regent simulate --region eu-west-1 --fault slow --policy shop -o yaml
      regent simulate --region eu-west-1 --region eu-central-1
    """
    kind = Fault(fault.lower())

    async def gathered(cluster: Cluster) -> tuple[Store, list[Object], Agents]:
        store, policies = await _gather(cluster, invocation, policy)
        promoting = any(value_at(item, ".spec.promotion.steps") for item in policies)
        agents = await _agents(cluster, operator_namespace, regions) if promoting else Agents()
        own = {name_of(item) for item in store.list(REGIONS) if value_at(item, ".spec.cluster")}
        return store, policies, replace(agents, members=frozenset(own))

    store, policies, agents = invocation.read(gathered)
    missing = [name for name in regions if store.get(REGIONS, "", name) is None]
    if missing:
        raise Failure(f"there is no Region {', '.join(missing)}; see: regent region list")
    wall = invocation.environment.wall()
    named = set(regions)
    asked = [item for item in policies if policy or named & set(regions_in(item))]
    answers = [_answer(item, store, regions, kind, agents, wall) for item in asked]
    invocation.write(_document(regions, kind, answers), lambda _: _screen(regions, kind, answers))
    if any(answer.result.outcome not in GOOD for answer in answers):
        raise click.exceptions.Exit(EXIT_FAILURE)


async def _gather(cluster: Cluster, invocation: Invocation, policy: str) -> tuple[Store, list[Object]]:
    """Read what the decision depends on, as the operator has it in its store, and the policies that are asked."""
    store = Store()
    for region in await cluster.list(REGIONS):
        store.observe(REGIONS, region)
    if policy:
        policies = [await cluster.get(FAILOVER_POLICIES, invocation.namespace, policy)]
    else:
        try:
            policies = list(await cluster.list(FAILOVER_POLICIES, invocation.options.namespace))
        except ForbiddenError:
            policies = list(await cluster.list(FAILOVER_POLICIES, invocation.namespace))
    for item in policies:
        store.observe(FAILOVER_POLICIES, item)
    namespaces = sorted({str(value_at(item, ".metadata.namespace")) for item in policies})
    wanted = [(resource, namespace) for namespace in namespaces for resource in SURROUNDINGS]
    listed = await asyncio.gather(*(cluster.list(resource, namespace) for resource, namespace in wanted))
    for (resource, _), found in zip(wanted, listed, strict=True):
        for item in found:
            store.observe(resource, item)
    return store, sorted(policies, key=place)


async def _agents(cluster: Cluster, namespace: str, regions: Sequence[str]) -> Agents:
    """Read what the hub shows of the agents of the regions."""
    known = {}
    try:
        for region in regions:
            try:
                lease = await cluster.get(LEASES, namespace, agent_name(region))
            except NotFoundError:
                continue
            try:
                told = await cluster.get(CONFIG_MAPS, namespace, agent_name(region))
            except NotFoundError:
                told = None
            known[region] = presence(lease, told)
    except ForbiddenError:
        return Agents(unreadable=f"you may not read Leases and ConfigMaps in namespace {namespace}")
    return Agents(known=known)


def _answer(  # noqa: PLR0917
    policy: Object, store: Store, faulty: Sequence[str], fault: Fault, agents: Agents, wall: float
) -> Answer:
    spec, _ = policy_spec(policy)
    regions = {name: region for name in faulty if (region := store.get(REGIONS, "", name)) is not None}
    result = simulate(
        snapshot_of(policy, spec, store, wall=wall),
        frozenset(faulty),
        fault,
        measurable={name: _measurable(region) for name, region in regions.items()},
        enabled=enabled_healths(store, wall=wall),
        agents=agents,
    )
    return Answer(policy=spec.key, result=result, open_runs=unfinished(store, spec))


def _measurable(region: Object) -> Measurable:
    plan = _region_plan(region)
    reports = bool(value_at(region, ".spec.load.healthBody.errorRatePercent") or value_at(region, ".status.report"))
    timeouts = [probe.spec.timeout for probe in plan.probes] if plan else []
    return Measurable(load_errors=reports, longest_timeout=max(timeouts, default=0.0))


def _region_plan(region: Object) -> RegionPlan | None:
    try:
        return region_plan(region)
    except ValueError:
        return None  # its probes cannot be run, so nothing is measured of it


def _document(regions: Sequence[str], fault: Fault, answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        "regions": list(regions),
        "fault": fault.value,
        "wouldSucceed": all(answer.result.outcome in GOOD for answer in answers),
        "policies": [
            {
                "policy": answer.policy,
                "outcome": answer.result.outcome.value,
                "reason": answer.result.reason,
                "message": answer.result.message,
                **_plan_document(answer.result),
                "candidates": candidate_rows(answer.result.candidates),
                "unfinishedRuns": answer.open_runs,
            }
            for answer in answers
        ],
    }


def _plan_document(result: Simulated) -> Mapping[str, Any]:
    if result.plan is None or result.course is None:
        return {}
    return {
        "type": result.plan.type.value,
        "trigger": result.plan.trigger.value,
        "from": result.plan.source,
        "to": result.plan.to,
        "before": write_shares(result.plan.before),
        "after": write_shares(result.plan.after),
        "transition": result.course.transition.value,
        "planned": result.course.planned,
        "steps": list(result.course.order),
        "isolation": [
            {"region": region, "proved": found.proved, "message": found.message} for region, found in result.isolation
        ],
    }


def _screen(regions: Sequence[str], fault: Fault, answers: Sequence[Answer]) -> RenderableType:
    parts: list[RenderableType] = [Text(f"If {' and '.join(regions)} were {fault.value} now:", style="bold")]
    if not answers:
        return Group(*parts, Text("No policy that you may see lists it."))
    for answer in answers:
        parts += [Text(), facts(_facts(answer))]
        if answer.result.candidates:
            parts.append(candidates_table(candidate_rows(answer.result.candidates)))
    return Group(*parts)


def _facts(answer: Answer) -> list[tuple[str, str]]:
    result = answer.result
    plan, course = result.plan, result.course
    rows = [("Policy", answer.policy), ("Outcome", result.outcome.value), ("Why", f"{result.reason}: {result.message}")]
    if plan is not None and course is not None:
        rows += [
            ("Run", f"{plan.type.value} {plan.source} → {plan.to}"),
            ("Shares", f"{shares.describe(plan.before)} → {shares.describe(plan.after)}"),
            ("Moves", f"{course.transition.value}, {'planned' if course.planned else 'the old side is left'}"),
            ("Steps", ", ".join(course.order)),
            ("Isolation", "; ".join(found.message for _, found in result.isolation)),
        ]
    return [*rows, ("Under way", ", ".join(answer.open_runs))]
