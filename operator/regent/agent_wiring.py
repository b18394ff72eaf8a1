"""Builds `regent agent --fence`: the process that guards a region from the inside.

Read `Agent` from top to bottom: the two clusters, the Lease in the region's own one that says which of its agents acts,
the Lease on the hub that shows it alive, the drivers that reach this region only.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import socket
from dataclasses import dataclass
from functools import partial

import uvloop

from regent import __version__
from regent.adapters import logging as logs
from regent.adapters.clock import LeaseClock, SystemClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import Connection, connect
from regent.adapters.kubernetes.lease import LeaseElector, request_timeout
from regent.adapters.metrics import PrometheusMetrics
from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.adapters.promotion.patroni import patroni_steps
from regent.adapters.promotion.patroni_api import Clients as PatroniClients
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.engine.agent.access import OwnRegion
from regent.engine.agent.acting import Acting
from regent.engine.agent.agent import RegionAgent
from regent.engine.agent.kept_secrets import KeptSecrets
from regent.engine.agent.memory import NAME, Memory
from regent.engine.agent.permission import Permission
from regent.engine.agent.presence import HubPresence
from regent.engine.policy_secrets import PolicySecrets
from regent.engine.supervise import Supervisor
from regent.server import liveness
from regent.server.operational import Heartbeat, OperationalServer
from regent.server.permission import permission_route

log = logging.getLogger("regent.agent")

STUCK = 60.0
"""Seconds without a decision after which /healthz fails: longer than the calls of one decision can take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What `regent agent` is told. Durations in seconds."""

    vantage: str
    region: str
    kubeconfig: str = ""
    hub_kubeconfig: str
    namespace: str = "regent-system"
    """The operator's on the hub, and the agent's own in its region."""
    http_address: str = "127.0.0.1:8081"
    duration: float = 15.0
    """Without the hub for this long, the region is fenced."""
    demotion_limit: float = 30.0
    """Within this long after that it is promised to be done."""
    allow_loopback: bool = False
    log_level: str = "info"
    log_format: str = "auto"


class Agent:
    """All parts of one agent. `run` returns the exit code."""

    def __init__(self, settings: AgentSettings, own: Connection, hub: Connection) -> None:
        self._clock = clock = LeaseClock()
        self._metrics = metrics = PrometheusMetrics()
        self._identity = f"{settings.vantage}_{socket.gethostname()}_{secrets.token_hex(4)}"
        self._supervisor = Supervisor()
        self._settings = settings
        client = partial(KubernetesCluster, clock=clock, metrics=metrics)
        self._own = client(own, timeout=3.0, pool=16)
        # Lost and taken over within 0.4 of the time after which the region is fenced: see isolation.TAKEOVER.
        self._own_duration = float(max(1, int(settings.duration * 0.3)))
        self._own_lease = client(own, timeout=request_timeout(self._own_duration), pool=2)
        self._hub = client(hub, timeout=3.0, pool=4)
        self._hub_lease = client(hub, timeout=max(0.5, settings.duration / 6), pool=2)
        self._acting = Acting(self._make_elector)
        self._presence = HubPresence(
            hub=self._hub_lease,
            namespace=settings.namespace,
            region=settings.region,
            identity=self._identity,
            duration=settings.duration,
            limit=settings.demotion_limit,
            clock=clock,
        )
        self._patroni = PatroniClients(allow_loopback=settings.allow_loopback)
        self._agent = RegionAgent(
            region=settings.region,
            namespace=settings.namespace,
            hub=self._hub,
            presence=self._presence,
            memory=Memory(cluster=self._own, namespace=settings.namespace),
            acting=self._acting,
            factory=self._make_drivers(),
            read_policy=lambda obj: policy_spec(obj)[0],
            duration=settings.duration,
            clock=clock,
            metrics=metrics,
        )
        permission = Permission(hub=self._hub, agent=self._agent, view=self._agent.view_of, side=self._agent.side_of)
        self._heartbeat = Heartbeat(clock=SystemClock(), metrics=metrics)
        self._server = OperationalServer(
            settings.http_address,
            metrics=metrics,
            live={"event-loop": liveness.event_loop(self._heartbeat), "decisions": self._stuck},
            ready={"agent": self._agent.unready},
            routes=permission_route(permission.ask),
        )

    async def run(self) -> int:
        """Run until a signal or a fault; return the exit code. What is stopped stays stopped."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.stop)
        add = self._supervisor.add
        add("http", self._server.run)
        add("heartbeat", self._heartbeat.run)
        add("lease", self._acting.run)
        add("renew", self._agent.renew)
        add("learn", self._agent.learn)
        add("act", self._agent.act)
        try:
            code = await self._supervisor.run()
            if self._acting.acting:
                # In this order: a successor in the region must find the hub's Lease free to take.
                await self._presence.release()
                await self._acting.release()
            return code
        finally:
            self._patroni.close()
            for cluster in (self._own, self._own_lease, self._hub, self._hub_lease):
                await cluster.close()

    def _make_elector(self) -> LeaseElector:
        return LeaseElector(
            self._own_lease,
            namespace=self._settings.namespace,
            name=NAME,
            identity=self._identity,
            clock=self._clock,
            metrics=self._metrics,
            jitter=random.random,
            duration=self._own_duration,
            renew=self._own_duration / 5,
        )

    def _make_drivers(self) -> PromotionDrivers:
        """Drivers of everything that an agent can stop: not of HTTP steps, which the hub alone carries out."""
        own = OwnRegion(
            self._settings.region, cluster=lambda account: self._own.acting_as(account) if account else self._own
        )
        databases = patroni_steps(
            clients=self._patroni,
            secrets=KeptSecrets(PolicySecrets(cluster=self._own, clock=self._clock)),
            clock=self._clock,
        )
        return PromotionDrivers({**object_drivers(own, clock=self._clock), **databases})

    def _stuck(self) -> str:
        idle = self._agent.idle()
        return f"nothing was decided for {idle:.0f}s" if idle > STUCK else ""


async def _run(settings: AgentSettings) -> int:
    own = await connect(kubeconfig=settings.kubeconfig)
    hub = await connect(kubeconfig=settings.hub_kubeconfig)
    log.info("Starting", extra={"version": __version__, "region": settings.region, "hub": hub.server})
    return await Agent(settings, own, hub).run()


def main(settings: AgentSettings) -> int:
    """Run the agent in this process; return its exit code.

    Raises:
        SettingsError: a cluster cannot be connected to.
    """
    logs.configure(level=settings.log_level, style=settings.log_format)
    return uvloop.run(_run(settings))
