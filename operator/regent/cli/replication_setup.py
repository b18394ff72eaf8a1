"""`regent replication setup`: a ReplicationPolicy from one line."""

from __future__ import annotations

from typing import Any, get_args

import click
from rich.console import Console

from regent.api.v1alpha1.replicationpolicy_resources import Category
from regent.cli.options import Invocation, reading
from regent.cli.output import without_managed_fields
from regent.cli.replication_request import Wanted, request_policy, target_regions
from regent.cli.values import Seconds, listed
from regent.domain.duration import format_duration
from regent.engine.ports import Object

CATEGORIES = {name.lower(): name for name in get_args(Category)}


class StateKind(click.ParamType[dict[str, Any]]):
    """A kind of category State: `group/version/Kind`, or `version/Kind` of the core group."""

    name = "group/version/Kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Read the text as an entry of `kinds`."""
        if isinstance(value, dict):
            return value
        parts = str(value).split("/")
        if len(parts) not in (2, 3) or not all(parts):
            self.fail(f"{str(value)[:80]!r}: write GROUP/VERSION/KIND, such as shop.example.com/v1/Cart", param, ctx)
        kind: dict[str, Any] = {"version": parts[-2], "kind": parts[-1]}
        return {"group": parts[0], **kind} if len(parts) == 3 else kind


@click.command("setup")
@click.argument("source")
@click.argument("target")
@click.argument("categories")
@click.option("--name", default="", metavar="NAME", help="Name of the policy.  [default: SOURCE-to-TARGET]")
@click.option(
    "--interval", type=Seconds(), metavar="SEC", help="Copy all SEC seconds (or 5m, 1h) instead of as things change."
)
@click.option("--bidirectional", is_flag=True, help="Copy changes in the target back; one target only.")
@click.option("--target-namespace", default="", metavar="NAME", help="Namespace of the copies; else the same one.")
@click.option("--include-secrets", is_flag=True, help="With Config: Secrets too.")
@click.option("--include-rbac", is_flag=True, help="With Config: ServiceAccounts, Roles and RoleBindings too.")
@click.option(
    "--kind", "kinds", type=StateKind(), multiple=True, help="With State: a kind to copy; several times for several."
)
@click.option("--selector", "-l", default="", metavar="K=V,…", help="Only objects with these labels.")
@click.option(
    "--standby",
    type=click.Choice(["Scaled0", "Suspended", "Running"], case_sensitive=False),
    help="How workloads look in the copy.  [default: Scaled0]",
)
@reading
def setup(
    invocation: Invocation,
    *,
    source: str,
    target: str,
    categories: str,
    name: str,
    interval: float | None,
    bidirectional: bool,
    target_namespace: str,
    include_secrets: bool,
    include_rbac: bool,
    kinds: tuple[dict[str, Any], ...],
    selector: str,
    standby: str | None,
) -> None:
    """Keep the objects of a namespace in step in other regions.

    SOURCE is the region that they are copied from, TARGET the region that gets copies, or several with commas between
    them. CATEGORIES is what is copied: Config, Workload, Network, Storage, VM and State in any case, with commas
    between them. Secrets are copied only when asked for.

    The same command twice is harmless; a policy that exists and differs is left as it is, with exit code 1.

    \b
    Examples:
      regent replication setup eu-west-1 eu-central-1 config,workload,network
      regent replication setup eu-west-1 eu-central-1,us-east-1 config --include-secrets --interval 300
      regent replication setup eu-west-1 eu-central-1 config --bidirectional
      regent replication setup eu-west-1 eu-central-1 state --kind shop.example.com/v1/Cart --name carts
    """
    targets = target_regions(source, target, target_namespace=target_namespace)
    if bidirectional and len(targets) != 1:
        raise click.UsageError("--bidirectional takes one target: with more, nobody could say which change is the last")
    labels = _labels(selector)
    resources = [
        _selection(category, secrets=include_secrets, rbac=include_rbac, kinds=kinds, labels=labels)
        for category in _categories(categories, secrets=include_secrets, rbac=include_rbac, kinds=bool(kinds))
    ]
    # What is decided by leaving it out is written too, so that a policy of the name that has it otherwise differs.
    trigger = {"mode": "Watch"} if interval is None else {"mode": "Interval", "interval": format_duration(interval)}
    spec: dict[str, Any] = {
        "resources": resources,
        "direction": "Bidirectional" if bidirectional else "OneWay",
        "trigger": trigger,
        **({"standby": standby} if standby else {}),
    }
    wanted = Wanted(
        name=name or f"{source}-to-{'-and-'.join(targets)}",
        namespace=invocation.namespace,
        source=source,
        targets=targets,
        spec=spec,
        target_namespace=target_namespace,
    )
    answer(invocation, wanted, *invocation.read(lambda cluster: request_policy(cluster, wanted)))


def answer(invocation: Invocation, wanted: Wanted, made: Object, new: bool) -> None:
    """Say what was made."""

    def screen(terminal: Console) -> None:
        said = "was set up" if new else "is set up already"
        terminal.print(
            f"Replication {wanted.name} from {wanted.source} to {', '.join(wanted.targets)} {said}. "
            f"See: regent replication status {wanted.name} -n {wanted.namespace}"
        )

    invocation.write(without_managed_fields(made), screen)


def _categories(text: str, *, secrets: bool, rbac: bool, kinds: bool) -> list[str]:
    words = listed(text)
    unknown = [word for word in words if word.lower() not in CATEGORIES]
    if unknown or not words:
        named = f"{', '.join(unknown)[:80]!r}: no such category; " if unknown else ""
        raise click.UsageError(f"{named}write some of {', '.join(CATEGORIES.values())}, with commas between them")
    found = list(dict.fromkeys(CATEGORIES[word.lower()] for word in words))
    if (secrets or rbac) and "Config" not in found:
        raise click.UsageError("--include-secrets and --include-rbac are for category Config")
    if kinds != ("State" in found):
        raise click.UsageError("give --kind GROUP/VERSION/KIND with category State, and only with it")
    return found


def _selection(
    category: str, *, secrets: bool, rbac: bool, kinds: tuple[dict[str, Any], ...], labels: dict[str, str]
) -> dict[str, Any]:
    selection: dict[str, Any] = {"category": category}
    if category == "Config":
        selection |= ({"includeSecrets": True} if secrets else {}) | ({"includeRBAC": True} if rbac else {})
    if category == "State":
        selection["kinds"] = list(kinds)
    return selection | ({"selector": {"matchLabels": labels}} if labels else {})


def _labels(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in listed(text):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{part[:80]!r}: write labels as KEY=VALUE, with commas between them")
        found[key] = value
    return found
