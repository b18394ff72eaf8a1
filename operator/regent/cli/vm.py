"""`regent vm`: virtual machines in several regions."""

from __future__ import annotations

import click

from regent.cli.options import Invocation, reading
from regent.cli.replication_request import Wanted, request_policy, target_regions
from regent.cli.replication_setup import answer


@click.group()
def vm() -> None:
    """Look after virtual machines (KubeVirt) in several regions."""


@vm.command("replicate")
@click.argument("name", metavar="VM")
@click.argument("primary")
@click.argument("replicas")
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="NAME",
    help="Copy this DataVolume, instance type or preference too; several times for several.",
)
@click.option("--name", "policy", default="", metavar="NAME", help="Name of the policy.  [default: vm-VM]")
@reading
def replicate(
    invocation: Invocation, *, name: str, primary: str, replicas: str, others: tuple[str, ...], policy: str
) -> None:
    """Keep the definition of the virtual machine VM in step, halted, in other regions.

    PRIMARY is the region where it runs, REPLICAS the regions that get a copy, with commas between them. Copies are
    Halted until a failover starts one. What is copied is the definition, with its DataVolumeTemplates; the data on its
    disks is replicated by the storage. The same command twice is harmless.

    \b
    Examples:
      regent vm replicate web-1 eu-west-1 eu-central-1,us-east-1
      regent vm replicate web-1 eu-west-1 eu-central-1 --with web-1-data --with large
    """
    names = list(dict.fromkeys([name, *others]))
    wanted = Wanted(
        name=policy or f"vm-{name}",
        namespace=invocation.namespace,
        source=primary,
        targets=target_regions(primary, replicas),
        spec={"resources": [{"category": "VM", "names": names}], "standby": "Scaled0", "direction": "OneWay"},
    )
    answer(invocation, wanted, *invocation.read(lambda cluster: request_policy(cluster, wanted)))
