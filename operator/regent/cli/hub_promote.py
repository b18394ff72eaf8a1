"""`regent hub promote`: a standby hub takes over from the hub that it follows, and fences it; see `hub_takeover`.

What it takes over is what its operator has copied. The copying is stopped first, and then everything is looked at: so
nothing changes under the eyes of whoever judges.
"""

from __future__ import annotations

import dataclasses

import click
from rich.console import Console, RenderableType

from regent.cli.fields import value_at
from regent.cli.group import Failure
from regent.cli.hub_document import TAKEN, HubExport
from regent.cli.hub_export import operator_namespace_option
from regent.cli.hub_judgement import Judgement
from regent.cli.hub_making import Made
from regent.cli.hub_takeover import Wanted, active_regions, document, leads, look, row, takeover_options, write
from regent.cli.options import Environment, Invocation, reading
from regent.cli.output import table
from regent.cli.selection import place
from regent.domain.errors import ClusterError, PromotionProblemError
from regent.domain.hub import IMPORTED, TERM, exported
from regent.domain.hub_term import HubRecord, HubRole
from regent.domain.times import rfc3339
from regent.engine.hub_record import change_record, read_record
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES, REGIONS
from regent.engine.standby.copies import FOLLOWED

SETTLING = 3.0
"""Seconds after which no operator copies any more: each looks once a second whether it still may."""


@click.command("promote")
@operator_namespace_option
@takeover_options
@click.option("--planned", is_flag=True, help="Take over also while the other hub still leads.")
@click.option("--dry-run", is_flag=True, help="Look at everything, write nothing.")
@reading
def promote(
    invocation: Invocation,
    *,
    operator_namespace: str,
    lease: str,
    without: tuple[str, ...],
    active: tuple[str, ...],
    planned: bool,
    dry_run: bool,
) -> None:
    """Make this standby hub the one that acts, and fence off the hub that it follows.

    Every epoch is raised beyond what the old hub can reach, first in the member clusters of the regions, then here.
    Then the operator here, which runs already, begins to decide. An old hub that comes back finds in the regions that
    it has been superseded, and does not act.

    Refused, with nothing moved, while the other hub still leads (say --planned), when a region cannot be told (say
    --without; the operator here tells it as soon as it answers), and when what is active cannot be known, because a run
    was under way or a region has seen more than was copied (say --active). A promotion that was cut short is finished
    by giving it again.

    \b
    Examples:
      regent hub promote --dry-run
      regent hub promote --without eu-west-1
    """
    environment = invocation.environment
    now = rfc3339(environment.wall())
    said = Wanted(
        export=HubExport(uid="", time=now, objects={resource: [] for resource in TAKEN}),
        operator_namespace=operator_namespace,
        lease=lease,
        without=frozenset(without),
        active=active_regions(active),
        again="Give the same command again",
    )

    async def work(cluster: Cluster) -> tuple[Judgement, list[Made]]:
        before = await read_record(cluster, operator_namespace)
        if before.role not in (HubRole.STANDBY, HubRole.PROMOTING) or not before.other:
            raise Failure("this hub is no standby that follows another one; regent hub import takes an export over")
        more = [] if planned else await _answers(cluster, environment, before, operator_namespace, lease)
        begun, stopped = False, before.role is HubRole.STANDBY and not dry_run and not more
        if stopped:
            await _set_role(cluster, operator_namespace, HubRole.PROMOTING)
            await environment.sleep(SETTLING)
        try:
            wanted = dataclasses.replace(said, export=await _copied(cluster, before.other, now))
            async with environment.members(cluster, wanted.export.objects[REGIONS], operator_namespace) as members:
                found = await look(cluster, members, environment, wanted, more=more)
                begun = True
                return found.judgement, [] if dry_run else await write(cluster, found, wanted)
        finally:
            # Refused: nothing was moved, so it goes on copying. Once begun, it has to be finished.
            if not begun and stopped:
                await _set_role(cluster, operator_namespace, HubRole.STANDBY)

    judgement, made = invocation.read(work)

    def screen(terminal: Console) -> RenderableType | None:
        if dry_run:
            terminal.print("Nothing was written. The policies would be taken over with these epochs:")
        else:
            terminal.print("Taken over: the operator here decides now; see: regent status")
        return table(["policy", "active", "epoch"], map(row, judgement.takeovers))

    invocation.write(document(judgement, made), screen)


async def _answers(
    cluster: Cluster, environment: Environment, record: HubRecord, namespace: str, lease: str
) -> list[str]:
    """Whether an operator still leads in the other hub. One that is not reached counts as lost: that is what a
    promotion is for, and what keeps it from acting stands in the regions."""
    secret_namespace, _, secret = record.secret.partition("/")
    reference = {"namespace": secret_namespace, "name": secret, "key": "kubeconfig"}
    # Reached as a region's cluster is, by a Region that is nowhere.
    spec = {"endpoint": "https://followed-hub.invalid", "probes": [{"name": "none", "http": {}}]}
    stand_in: Object = {"metadata": {"name": FOLLOWED}, "spec": {**spec, "cluster": {"kubeconfigSecretRef": reference}}}
    async with environment.members(cluster, [stand_in], namespace) as members:
        try:
            other = await members.cluster(FOLLOWED)
            if await leads(other, environment, namespace, lease):
                return [f"hub {record.other} still leads: give --planned to take over from it all the same"]
        except (ClusterError, PromotionProblemError) as error:
            click.echo(f"The other hub is not reached: {error}", err=True)
    return []


async def _copied(cluster: Cluster, other: str, now: str) -> HubExport:
    """What was copied, as an export of the other hub would have it."""
    objects = {
        resource: [
            _as_there(exported(obj, with_status=resource == FAILOVER_POLICIES), obj)
            for obj in sorted(await cluster.list(resource), key=place)
            if not obj["metadata"].get("deletionTimestamp")
        ]
        for resource in TAKEN
    }
    return HubExport(uid=other, time=now, objects=objects)


def _as_there(copy: Object, obj: Object) -> Object:
    """A policy that a promotion, which was cut short, has raised already, with the epoch that it had there."""
    text = str((value_at(obj, ".metadata.annotations") or {}).get(IMPORTED) or "")
    epoch = int(value_at(copy, ".status.epoch") or 0)
    if text.isascii() and text.isdigit() and epoch >= TERM and epoch % TERM == 0:
        copy["status"]["epoch"] = int(text)
    return copy


async def _set_role(cluster: Cluster, namespace: str, role: HubRole) -> None:
    await change_record(cluster, namespace, lambda record: dataclasses.replace(record, role=role))
