"""`regent agent`: a process inside a region."""

from __future__ import annotations

import re
import sys

import click

from regent.domain.duration import parse_duration

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


class _Duration(click.ParamType[float]):
    """A duration such as 500ms, 2s or 1m30s, between two bounds, in seconds."""

    name = "duration"

    def __init__(self, low: str, high: str, *, whole: bool = False) -> None:
        self._low, self._high, self._whole = low, high, whole

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not parse_duration(self._low) <= seconds <= parse_duration(self._high):
            self.fail(f"must be between {self._low} and {self._high}", param, ctx)
        if self._whole and seconds != int(seconds):
            self.fail("must be whole seconds, because a Lease counts in them", param, ctx)
        return seconds


def _label(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not LABEL.match(value):
        raise click.BadParameter("write lower-case letters, digits and dashes, at most 63", ctx, param)
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REGENT_AGENT"})
@click.option("--vantage", metavar="NAME", required=True, callback=_label, help="Name of this agent.")
@click.option("--fence", is_flag=True, help="Stop the region's side when it is cut off from the hub, or asked to.")
@click.option("--region", metavar="NAME", required=True, callback=_label, help="The Region that it runs in.")
@click.option("--kubeconfig", metavar="PATH", default="", help="The region's own cluster; else the pod's account.")
@click.option("--hub-kubeconfig", metavar="PATH", required=True, help="The cluster where the operator runs.")
@click.option(
    "-n", "--namespace", metavar="NAME", default="regent-system", show_default=True, callback=_label,
    help="Regent's namespace, in both.",
)  # fmt: skip
@click.option("--http-address", metavar="HOST:PORT", default="127.0.0.1:8081", show_default=True)
@click.option(
    "--fence-after", type=_Duration("3s", "10m", whole=True), default="15s", show_default=True,
    help="Without the hub for this long, the region is fenced.",
)  # fmt: skip
@click.option(
    "--demotion-limit", type=_Duration("1s", "1h"), default="30s", show_default=True,
    help="Time that fencing takes at most; longer than any pod's grace period.",
)  # fmt: skip
@click.option("--allow-loopback", is_flag=True, help="Also databases at loopback addresses.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), default="auto")
def agent(
    *,
    vantage: str,
    fence: bool,
    region: str,
    kubeconfig: str,
    hub_kubeconfig: str,
    namespace: str,
    http_address: str,
    fence_after: float,
    demotion_limit: float,
    allow_loopback: bool,
    log_level: str,
    log_format: str,
) -> None:
    """Run inside a region, until SIGTERM, and stop it when it may not serve.

    Each option can be given as a variable: REGENT_AGENT_HUB_KUBECONFIG for --hub-kubeconfig.
    """
    if not fence:
        raise click.UsageError("an agent does nothing but fence so far: give --fence")
    # Imported late, as in `regent run`.
    from regent.agent_wiring import AgentSettings, main

    settings = AgentSettings(
        vantage=vantage,
        region=region,
        kubeconfig=kubeconfig,
        hub_kubeconfig=hub_kubeconfig,
        namespace=namespace,
        http_address=http_address,
        duration=fence_after,
        demotion_limit=demotion_limit,
        allow_loopback=allow_loopback,
        log_level=log_level,
        log_format=log_format,
    )
    sys.exit(main(settings))
