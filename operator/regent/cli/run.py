"""`regent run`: the operator itself."""

from __future__ import annotations

import os
import sys

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", type=click.Path(dir_okay=False), help="Settings in YAML.")
@click.option("--kubeconfig", metavar="PATH", help="Else $KUBECONFIG, ~/.kube/config, the pod's service account.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; else its current one.")
@click.option("-n", "--namespace", metavar="NAME", help="Regent's own namespace.  [default: regent-system]")
@click.option(
    "--http-address", metavar="HOST:PORT", help="For /healthz, /readyz and /metrics.  [default: 127.0.0.1:8080]"
)
@click.option("--leader-elect/--no-leader-elect", default=None, help="Hold a Lease before writing.  [default: on]")
def run(
    *,
    config: str | None,
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    http_address: str | None,
    leader_elect: bool | None,
) -> None:
    """Run the operator until SIGTERM.

    Settings come from defaults, the file, REGENT_* variables and these options, in rising order of precedence.
    """
    # Imported late: the other commands start three times as fast without kopf and the API client.
    from regent.settings import load
    from regent.wiring import main

    settings = load(
        file=config or "",
        environment=os.environ,
        flags={
            "kubernetes.kubeconfig": kubeconfig,
            "kubernetes.context": context,
            "namespace": namespace,
            "http.address": http_address,
            "leaderElection.enabled": leader_elect,
        },
    )
    sys.exit(main(settings))
