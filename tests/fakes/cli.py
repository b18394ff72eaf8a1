"""The command line on a cluster in memory: what to invoke, and objects that stand for a shop in three regions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from click.testing import CliRunner, Result

from regent.cli.main import main
from regent.cli.options import ClusterOptions, Environment
from regent.cli.probes import CheckOutcome
from regent.domain.times import parse_rfc3339
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS
from tests.fakes.cluster import FakeCluster

NOW = "2026-11-21T12:00:00Z"


class CommandLine:
    """Runs commands on a FakeCluster; `options` are those that the last command connected with."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.options: ClusterOptions | None = None
        self.outcomes: Sequence[CheckOutcome] = ()
        self.members: Any = None
        """How the member clusters are reached."""
        self.slept = 0.0
        """Seconds for which commands have waited."""
        self.meanwhile: Callable[[], None] | None = None
        """What the world does whenever a command waits."""

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), obj=self._environment(), input=typed)

    def read(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def _environment(self) -> Environment:
        @asynccontextmanager
        async def connect(options: ClusterOptions) -> AsyncIterator[Cluster]:
            self.options = options
            yield self.cluster

        async def check(_cluster: Cluster, _region: Object, _namespace: str) -> list[CheckOutcome]:
            return list(self.outcomes)

        def namespace(options: ClusterOptions) -> str:
            return options.namespace or "shop"

        async def sleep(seconds: float) -> None:
            self.slept += seconds
            if self.meanwhile is not None:
                self.meanwhile()

        @asynccontextmanager
        async def members(_cluster: Cluster, _regions: Sequence[Object], _namespace: str) -> AsyncIterator[Any]:
            yield self.members

        return Environment(
            connect=connect,
            members=members,
            namespace=namespace,
            check=check,
            wall=lambda: parse_rfc3339(NOW),
            monotonic=lambda: self.slept,
            sleep=sleep,
        )


def put_shop(command_line: CommandLine) -> None:
    """A shop that was moved from eu-west-1, which is down, to eu-central-1 a minute ago."""
    cluster = command_line.cluster
    cluster.put(REGIONS, region("eu-west-1", "Unreachable", tier="Primary", message="web: connection refused"))
    cluster.put(REGIONS, region("eu-central-1", "Healthy", latency=10, primary_of=1))
    cluster.put(REGIONS, region("us-east-1", "Degraded", latency=1_200, message="latency 1.2 s"))
    cluster.put(FAILOVER_POLICIES, policy())
    cluster.put(FAILOVERS, run())


def region(name: str, health: str, *, tier: str = "Secondary", message: str = "", **status: Any) -> Object:
    given = {"latencyMilliseconds": status.get("latency"), "primaryOf": status.get("primary_of")}
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-11-21T10:00:00Z", "managedFields": [{"manager": "x"}]},
        "spec": {
            "tier": tier,
            "adminState": "Enabled",
            "priority": 100,
            "endpoint": f"https://{name}.example.com",
            "location": {"name": "Ireland", "latitude": "53.3", "longitude": "-6.2"},
            "probes": [
                {
                    "name": "web",
                    "role": "Required",
                    "http": {"path": "/healthz"},
                    "interval": "1s",
                    "timeout": "2s",
                    "failureThreshold": 3,
                }
            ],
        },
        "status": {
            "health": health,
            "message": message,
            "lastTransitionTime": "2026-11-21T11:59:00Z",
            "vantages": [{"name": "operator", "health": health, "lastChangeTime": "2026-11-21T11:59:00Z"}],
            "conditions": [
                condition("Ready", "True", "Reconciled"),
                condition("Reachable", "False" if health == "Unreachable" else "True", health),
            ],
            **{key: value for key, value in given.items() if value is not None},
        },
    }


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-21T11:59:00Z",
    }


def policy(**status: Any) -> Object:
    return {
        "metadata": {"name": "shop", "namespace": "shop", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {
            "topology": "ActivePassive",
            "mode": "Automatic",
            "regions": [{"name": "eu-west-1"}, {"name": "eu-central-1"}, {"name": "us-east-1"}],
        },
        "status": {
            "activeRegion": "eu-central-1",
            "activeRegions": ["eu-central-1"],
            "active": "eu-central-1",
            "phase": "Cooldown",
            "epoch": 8,
            "failoverReady": "True",
            "cooldownUntil": "2026-11-21T12:04:00Z",
            "effective": {"fencing": "BestEffort", "failbackMode": "Manual"},
            "distribution": [{"region": "eu-central-1", "weightPercent": 100}],
            "candidates": [
                {"region": "us-east-1", "eligible": True, "rank": 1, "reasons": []},
                {"region": "eu-west-1", "eligible": False, "reasons": ["Unreachable", "left 60 s ago"]},
            ],
            "targets": [{"target": "HTTPRoute/shop", "epoch": 8, "verification": "Verified"}],
            "lastFailover": {"name": "shop-9", "result": "Succeeded", "summary": "eu-west-1→eu-central-1 0.8s"},
            "totals": {"succeeded": 12, "failed": 1, "rolledBack": 0},
            "conditions": [
                condition("Ready", "True", "Reconciled"),
                condition("CooldownActive", "True", "AfterRun", "until 12:04"),
                condition("ActionRequired", "False", "Nothing"),
            ],
            **status,
        },
    }


def run() -> Object:
    return {
        "metadata": {"name": "shop-9", "namespace": "shop"},
        "spec": {"policyRef": {"name": "shop"}, "type": "Failover", "from": "eu-west-1", "reason": "it is down"},
        "status": {
            "phase": "Succeeded",
            "trigger": "Unreachable",
            "plan": {"chosen": "eu-central-1"},
            "startTime": "2026-11-21T11:59:00Z",
            "durationMilliseconds": 812,
            "currentStep": "Finalize",
            "steps": [
                {
                    "attempt": 1,
                    "name": "Commit",
                    "state": "Succeeded",
                    "startTime": "2026-11-21T11:59:00Z",
                    "completionTime": "2026-11-21T11:59:00.015Z",
                    "message": "epoch 8",
                },
                {"attempt": 1, "name": "Shift", "state": "Succeeded"},
            ],
        },
    }
