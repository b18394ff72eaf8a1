"""An agent in each region of a database scene, each with an API server of its region's own.

The API servers run out here; a region reaches its own by a socket inside its namespace, which no cut link takes away,
and the hub over the network, which one does.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.controlplane import ControlPlane
from testbed.database.scene import DatabaseScene
from testbed.operator.agent import SYSTEM, AgentProcess, agent_objects
from testbed.operator.link import Link
from testbed.scene import eventually

Json = dict[str, Any]


def pre_promote(url: str, *, namespace: str, policy: str, step: str = "db") -> str:
    """The command for Patroni's `postgresql.pre_promote`, as docs/patroni.md gives it."""
    options = "--fail --silent --show-error --output /dev/null --max-time 5"
    waiting = "--retry 60 --retry-delay 1 --retry-max-time 60 --retry-connrefused"
    return f"curl {options} {waiting} {url}/may-promote/{namespace}/{policy}/{step}"


class Agents:
    """Context manager: `agents[region]` is a region's agent. None runs before `start`.

    Args:
        scene: whose regions they guard; its policy has to name the hosts of its databases (`promotion(hosts=True)`).
        fence_after: seconds without the hub after which they fence; whole.
        demotion_limit: seconds within which they promise to be done.
    """

    def __init__(self, scene: DatabaseScene, *, fence_after: float = 3.0, demotion_limit: float = 5.0) -> None:
        self._scene = scene
        self._fence_after = fence_after
        self._demotion_limit = demotion_limit
        self._members: dict[str, AgentProcess] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-agents-")))
            with ThreadPoolExecutor(max_workers=len(self._scene.names)) as pool:
                planes = list(pool.map(lambda name: ControlPlane.start(name=f"member-{name}"), self._scene.names))
            for plane in planes:
                stack.push(plane.__exit__)
            for name, plane in zip(self._scene.names, planes, strict=True):
                self._members[name] = self._add(name, plane, directory, stack)
                stack.callback(self._members[name].kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __getitem__(self, region: str) -> AgentProcess:
        return self._members[region]

    def __iter__(self) -> Iterator[AgentProcess]:
        return iter(self._members.values())

    def start(self, *, timeout: float = 60.0) -> None:
        """Start all that do not run, wait until each says that it guards the policy as it is now, and let the databases
        ask them before they accept writes."""
        for agent in self:
            agent.start()
        for agent in self:
            self.wait_guarding(agent.region, timeout=timeout)
            self._hook(agent.region, pre_promote(agent.url, namespace=self._scene.namespace, policy=self._scene.app))

    def stop(self) -> None:
        """Let all take their leave; the databases ask nobody any more."""
        for agent in self:
            self._hook(agent.region, None)
            agent.stop()

    def _hook(self, region: str, command: str | None) -> None:
        database = self._scene.databases[region]
        if (database.status("/config")[1].get("postgresql") or {}).get("pre_promote") != command:
            database.configure({"postgresql": {"pre_promote": command}})

    def wait_guarding(self, region: str, *, timeout: float = 60.0) -> None:
        """Wait until the region's agent is connected and has told the hub that it guards the scene's policy."""
        key = f"{self._scene.namespace}/{self._scene.app}"
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/regent-agent-{region}"
        told = f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-agent-{region}"

        def guarding() -> bool:
            api = self._scene.cluster.api
            guards = json.loads((api.get(told).get("data") or {}).get("guards") or "{}")
            return key in guards and bool((api.get(lease).get("spec") or {}).get("holderIdentity"))

        try:
            eventually(guarding, what=f"the agent of {region} to guard {key}", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self[region].log_text()[-4000:]}") from None

    def logs(self) -> str:
        """The logs of all agents, one after the other."""
        return "\n".join(f"--- agent of {agent.region}\n{agent.log_text()}" for agent in self)

    def _add(self, name: str, plane: ControlPlane, directory: Path, stack: ExitStack) -> AgentProcess:
        scene = self._scene
        for owner in (SYSTEM, scene.namespace):
            plane.create_namespace(owner)
        plane.apply([scene.credentials(), *agent_objects("Region", name, secret_namespaces=[scene.namespace])])
        scene.cluster.apply(agent_objects("Hub", name))
        namespace = scene.databases[name].namespace
        own = Link(plane.service_account_kubeconfig(SYSTEM, "regent-agent"), directory, listener=namespace.listen())
        hub = Link(
            scene.cluster.service_account_kubeconfig(SYSTEM, f"regent-agent-{name}"),
            directory,
            listener=socket.create_server((scene.network.host_address, 0)),
        )
        stack.enter_context(own)
        stack.enter_context(hub)
        return AgentProcess(
            name,
            namespace=namespace,
            own=own.kubeconfig,
            hub=hub.kubeconfig,
            directory=directory,
            fence_after=self._fence_after,
            demotion_limit=self._demotion_limit,
        )
