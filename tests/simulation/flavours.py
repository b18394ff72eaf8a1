"""The policies that scenarios play with, drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.world import AP, EU, US

DB = {
    "name": "db",
    "type": "Patroni",
    "timeout": "8s",
    "patroni": {"clusters": [{"region": name, "url": f"https://{name}.example.com"} for name in (EU, US, AP)]},
}
WEB = {"name": "web", "type": "Scale", "timeout": "8s", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}
STAGES = [{"percent": 10, "hold": "3s"}, {"percent": 50, "hold": "3s"}]


@dataclass
class Flavour:
    """A policy and what surrounds it."""

    name: str
    spec: dict[str, Any]
    steps: list[str] = field(default_factory=list)
    fencing: str = "None"
    cooldown: float = 20.0
    agents: bool = False
    clocks: bool = False
    """Wall clocks are set back and forth."""
    replicas: int = 2
    leaders: bool = False
    """What goes wrong is the operator's: leaders that freeze, crash and are cut off, and watches that lag."""
    plot: str = ""
    """One of PLOTS: what is rare by chance is made to happen."""


PLOTS = ("heirs", "cascade", "returns")
"""Situations that chance alone hardly ever makes. `heirs`: leaders die as they commit, and their successors have not
heard of it. `cascade`: candidates fail as they are promoted. `returns`: a region that an agent has isolated takes the
role back at once, and is lost again."""

KINDS = ("stateless", "gradual", "gradual", "graceful", "shared", "database", "database", "database")


def draw_flavour(draw: random.Random, only: str = "") -> Flavour:
    """Choose a policy, of the kind `only` where one is named: one of KINDS, `agents` (a database whose regions have
    them), `leaders` (gradual, and mostly the operator is what fails), or one of PLOTS."""
    name = only or draw.choice(KINDS)
    spec: dict[str, Any] = {
        "safety": {"cooldown": "20s"},
        "failback": {"mode": draw.choice(["Automatic", "Manual"]), "stabilization": "5s"},
        "triggers": {"errorRate": {"percent": 5, "for": "1s"}},
        "rollback": "OnFailure",
    }
    flavour = Flavour(name, spec, clocks=draw.random() < 0.2, replicas=3 if draw.random() < 0.25 else 2)
    flavour.leaders = name == "leaders"
    flavour.plot = name if name in PLOTS else ""
    if name in ("gradual", "leaders"):
        spec["transition"] = {"type": "Gradual", "steps": STAGES}
    elif name == "graceful":
        spec["transition"] = {"type": "Graceful", "drain": "1s"}
        if draw.random() < 0.7:
            spec["promotion"], flavour.steps = {"steps": [WEB]}, ["web"]
    elif name == "shared":
        spec["topology"] = "ActiveActive"
    elif name in ("cascade", "returns"):
        spec["promotion"], flavour.steps = {"steps": [DB, WEB]}, ["db", "web"]
        flavour.fencing, flavour.agents = ("Required", True) if name == "returns" else ("BestEffort", False)
        spec["safety"]["fencing"] = flavour.fencing
    elif name in ("database", "agents"):
        spec["promotion"], flavour.steps = {"steps": [DB, WEB]}, ["db", "web"]
        flavour.fencing = draw.choice(["Required", "Required", "Required", "BestEffort", "None"])
        flavour.agents = flavour.fencing == "Required" and draw.random() < 0.5
        if name == "agents":
            flavour.agents, flavour.fencing = True, "Required"
        spec["safety"]["fencing"] = flavour.fencing
        if draw.random() < 0.3:
            spec["safety"]["approval"] = draw.choice(["Always", "WhenDataLoss"])
            spec["safety"]["approvalTimeout"] = "60s"
        flavour.name = f"database, fencing {flavour.fencing}{', agents' if flavour.agents else ''}"
    return flavour
