"""Probing a region once, from where the command runs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import EMPTY, printable
from regent.cli.options import Invocation
from regent.cli.output import table
from regent.cli.probes import CheckOutcome
from regent.domain.health.model import GrpcCheck, HttpCheck, Outcome, ProbeRole, ProbeSpec
from regent.engine.ports import Cluster
from regent.engine.resources import REGIONS


def check_region(invocation: Invocation, name: str, operator_namespace: str) -> list[CheckOutcome]:
    """Read the region and run each of its probes once, all at the same time."""

    async def checked(cluster: Cluster) -> list[CheckOutcome]:
        return await invocation.environment.check(cluster, await cluster.get(REGIONS, "", name), operator_namespace)

    return invocation.read(checked)


def required_failed(outcomes: Sequence[CheckOutcome]) -> bool:
    """Tell whether a Required probe got anything but a success."""
    return any(
        outcome.spec.role is ProbeRole.REQUIRED and outcome.result.outcome is not Outcome.SUCCESS
        for outcome in outcomes
    )


def check_document(name: str, outcomes: Sequence[CheckOutcome]) -> dict[str, Any]:
    """Give the outcomes as a JSON value."""
    return {
        "region": name,
        "vantage": platform.node(),
        "result": _verdict(outcomes),
        "probes": [
            {
                "name": outcome.spec.name,
                "role": outcome.spec.role.value,
                "check": _check(outcome.spec),
                "outcome": outcome.result.outcome.value,
                "latencyMilliseconds": round(outcome.result.latency * 1_000, 1),
                "detail": printable(outcome.result.detail),
            }
            for outcome in outcomes
        ],
    }


def check_screen(name: str, outcomes: Sequence[CheckOutcome]) -> RenderableType:
    """Lay the outcomes out for people."""
    heading = Text(f"Region {name}, probed once from this machine ({platform.node()}):")
    if not outcomes:
        return Group(heading, Text("It has no probes."))
    rows = table(
        ["probe", "role", "check", "outcome", "latency", "detail"],
        (
            [
                outcome.spec.name,
                outcome.spec.role.value,
                _check(outcome.spec),
                outcome.result.outcome.value,
                f"{outcome.result.latency * 1_000:.1f} ms",
                printable(outcome.result.detail) or EMPTY,
            ]
            for outcome in outcomes
        ),
    )
    return Group(heading, rows)


def _verdict(outcomes: Sequence[CheckOutcome]) -> str:
    return "Failed" if required_failed(outcomes) else "Passed"


def _check(spec: ProbeSpec) -> str:
    place = f"[{spec.host}]:{spec.port}" if ":" in spec.host else f"{spec.host}:{spec.port}"
    secure = spec.tls is not None
    if isinstance(spec.check, HttpCheck):
        return f"{'https' if secure else 'http'}://{place}{spec.check.path}"
    if isinstance(spec.check, GrpcCheck):
        return f"{'grpcs' if secure else 'grpc'}://{place}/{spec.check.service}"
    return f"{'tls' if secure else 'tcp'}://{place}"
