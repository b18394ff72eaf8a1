"""`regent agent --fence` as a process, between two real API servers: the hub's and its region's.

It signs in with the accounts and the rights that its chart makes, so a missing right shows here. Its link to the hub is
cut as a network would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from regent.adapters.clock import LeaseClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.failover.fence import Fence
from regent.engine.agent_isolation import AgentIsolation
from regent.engine.promotion import IsolationState
from testbed.controlplane import ApiError, Cluster, ControlPlane
from testbed.network import spawn
from testbed.operator.link import Link
from tests.chart_render import helm
from tests.fakes.ports import FakeLeadership, FakeMetrics

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("agent")]

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = "regent-system"
WEST, EAST = "west", "east"
AFTER, LIMIT, SKEW = 7.0, 2.0, 0.5
"""--fence-after and --demotion-limit of the agent, and what the hub adds. The Lease among the region's agents lasts 0.3
of the first, and a request for it 0.18 of that: a busy machine needs this much."""
WAIT = AFTER * 1.65 + LIMIT + SKEW
T = TypeVar("T")


def chart(side: str) -> list[dict[str, Any]]:
    text = helm(
        "template", "agent", str(ROOT / "charts" / "regent-agent"), "--namespace", SYSTEM,
        f"--set=side={side}", f"--set=region={WEST}",
    )  # fmt: skip
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def hub(control_plane: Cluster) -> Iterator[Cluster]:
    control_plane.install_crds(ROOT / "crds")
    with contextlib.suppress(ApiError):
        control_plane.create_namespace(SYSTEM)
    yield control_plane


@pytest.fixture(scope="module")
def member() -> Iterator[ControlPlane]:
    with ControlPlane.start(name="member") as started:
        started.create_namespace(SYSTEM)
        started.apply([obj for obj in chart("Region") if obj["kind"] not in ("Deployment", "PodDisruptionBudget")])
        yield started


@dataclass
class Agent:
    """One agent's process."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200)
        return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=15)


class Scene:
    """A policy on the hub, its Deployment in the region's cluster, the agent in between, and a hub that asks."""

    def __init__(self, hub: Cluster, member: ControlPlane, directory: Path) -> None:
        self.hub, self.member, self.directory = hub, member, directory
        self.app = f"a{secrets.token_hex(3)}"
        for cluster in (hub, member):
            cluster.create_namespace(self.app)
        hub.apply(chart("Hub"))
        self.link = Link(hub.service_account_kubeconfig(SYSTEM, f"regent-agent-{WEST}"), directory)
        self.agents: list[Agent] = []
        pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
        metadata = {"name": "web", "namespace": self.app, "annotations": {"regent.dev/fence": "3.1.12"}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
        member.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
        self._apply_policy()
        self.status(epoch=3, activeRegion=WEST)

    def _apply_policy(self) -> None:
        step = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "web", "replicas": 2}}
        spec = {"regions": [{"name": WEST}, {"name": EAST}], "promotion": {"steps": [step]}}
        metadata = {"name": self.app, "namespace": self.app}
        kind = {"apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy"}
        self.hub.apply({**kind, "metadata": metadata, "spec": spec})

    @property
    def policy(self) -> dict[str, Any]:
        return self.hub.api.get(f"/apis/regent.dev/v1alpha1/namespaces/{self.app}/failoverpolicies/{self.app}")

    def status(self, **fields: Any) -> None:
        """Write the policy's status, as the operator would."""
        active = fields.get("activeRegion") or WEST
        fields["distribution"] = [{"region": active, "weightPercent": 100}]
        path = f"/apis/regent.dev/v1alpha1/namespaces/{self.app}/failoverpolicies/{self.app}/status"
        self.hub.api.patch(path, {"status": fields})

    def start(self) -> Agent:
        own = self.member.service_account_kubeconfig(SYSTEM, "regent-agent")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = self.directory / f"agent-{len(self.agents)}.log"
        argv = [
            sys.executable, "-m", "regent", "agent", "--fence", "--vantage", f"agent-{len(self.agents)}",
            "--region", WEST, "--kubeconfig", str(own), "--hub-kubeconfig", str(self.link.kubeconfig),
            "--fence-after", f"{AFTER:.0f}s", "--demotion-limit", f"{LIMIT:.0f}s",
            "--http-address", f"127.0.0.1:{port}", "--log-format", "text",
        ]  # fmt: skip
        with log.open("wb") as stream:
            process = spawn(argv, stdout=stream, stderr=stream)
        agent = Agent(process, log, port)
        self.agents.append(agent)
        return agent

    def wait_guarded(self) -> None:
        key = f"{self.app}/{self.app}"
        self.eventually(lambda: key in json.loads(self.told().get("guards", "{}")), what="the agent guards the policy")

    def told(self) -> dict[str, str]:
        path = f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-agent-{WEST}"
        return dict(self.hub.api.get(path).get("data") or {})

    def lease(self) -> dict[str, Any]:
        return self.hub.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/regent-agent-{WEST}")

    def deployment(self) -> dict[str, Any]:
        return self.member.api.get(f"/apis/apps/v1/namespaces/{self.app}/deployments/web")

    def replicas(self) -> int:
        return int(self.deployment()["spec"]["replicas"])

    def fence(self) -> str:
        return str(self.deployment()["metadata"]["annotations"]["regent.dev/fence"])

    def eventually(self, condition: Callable[[], T], *, what: str, within: float = 60.0) -> T:
        deadline = time.monotonic() + within
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not so in time: {what}\n{self.logs()}"
            time.sleep(0.02)
        return found

    def logs(self) -> str:
        return "\n".join(agent.log.read_text()[-4000:] for agent in self.agents)

    async def isolations(self, act: Callable[[Callable[..., Awaitable[IsolationState]]], Awaitable[T]]) -> T:
        """Run `act` with a function that asks for isolation as the operator does."""
        connection = await connect(kubeconfig=str(self.hub.kubeconfig))
        cluster = KubernetesCluster(connection, clock=LeaseClock(), metrics=FakeMetrics(), timeout=5.0, pool=2)
        asker = AgentIsolation(
            cluster=cluster, namespace=SYSTEM, leadership=FakeLeadership(), clock=LeaseClock(), skew=SKEW
        )
        spec = policy_spec(self.policy)[0]

        async def ask(fence: Fence) -> IsolationState:
            return await asker.isolate(spec, WEST, fence=fence)

        try:
            return await act(ask)
        finally:
            await cluster.close()

    def close(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait(timeout=10)
        self.hub.api.delete(f"/apis/regent.dev/v1alpha1/namespaces/{self.app}/failoverpolicies/{self.app}")
        for path in (
            f"api/v1/namespaces/{SYSTEM}/configmaps/regent-agent-{WEST}",
            f"api/v1/namespaces/{SYSTEM}/configmaps/regent-isolate-{WEST}",
            f"apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/regent-agent-{WEST}",
        ):
            with contextlib.suppress(ApiError):
                self.hub.api.delete(f"/{path}")
        for path in (
            "api/v1/namespaces/regent-system/configmaps",
            "apis/coordination.k8s.io/v1/namespaces/regent-system/leases",
        ):
            with contextlib.suppress(ApiError):
                self.member.api.delete(f"/{path}/regent-agent")


@pytest.fixture
def scene(hub: Cluster, member: ControlPlane, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(hub, member, tmp_path)
    with made.link:
        yield made
        made.close()
        assert "Traceback" not in made.logs(), made.logs()
        assert "Forbidden" not in made.logs(), made.logs()


def test_cut_off_it_stops_its_side_before_the_hub_may_think_so(scene: Scene) -> None:
    agent = scene.start()
    scene.wait_guarded()
    scene.eventually(agent.ready, what="ready")

    async def watch(ask: Callable[..., Awaitable[IsolationState]]) -> tuple[float, float, float]:
        assert not (await ask(Fence(4, 1, 8))).proved
        # The request that this first question left must not be what stops it.
        scene.hub.api.delete(f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-isolate-{WEST}")
        cut, stopped, proved = scene.link.cut(), 0.0, 0.0
        while not proved:
            assert time.monotonic() - cut < 90, scene.logs()
            state = await ask(Fence(4, 1, 8))
            zero = await asyncio.to_thread(scene.replicas) == 0
            stopped = stopped or (time.monotonic() if zero else 0.0)
            proved = time.monotonic() if state.proved else 0.0
            assert not proved or stopped, "the hub was told that a region is fenced which is not"
            await asyncio.sleep(0.02)
        return cut, stopped, proved

    cut, stopped, proved = asyncio.run(scene.isolations(watch))
    assert stopped - cut > AFTER / 2, "fenced although the hub had been heard of"
    assert proved - cut >= WAIT - 1.0
    assert scene.fence() == "3.1.12", "never greater than what the hub has written"

    scene.status(epoch=5, activeRegion=WEST)  # the run that asked was rolled back
    scene.link.heal()
    scene.eventually(lambda: scene.replicas() == 2, what="brought back: still active, and no run holds the policy")
    scene.eventually(lambda: json.loads(scene.told()["isolated"]) == {}, what="the word taken back")


def test_it_stays_stopped_through_a_restart_and_lets_go_to_the_new_active_region(scene: Scene) -> None:
    first = scene.start()
    scene.wait_guarded()
    scene.link.cut()
    scene.eventually(lambda: scene.replicas() == 0, what="stopped")
    first.stop(signal.SIGKILL)
    scene.start()
    scene.eventually(lambda: "kept so" in scene.agents[1].log.read_text(), what="the notes of the first one")
    scene.status(epoch=4, activeRegion=EAST)
    scene.link.heal()
    scene.eventually(lambda: "Let go" in scene.agents[1].log.read_text(), what="let go")
    assert scene.replicas() == 0


def test_an_agent_that_starts_cut_off_knows_from_its_notes_what_to_stop(scene: Scene) -> None:
    first = scene.start()
    scene.wait_guarded()
    first.stop(signal.SIGKILL)
    scene.link.cut()
    scene.start()
    scene.eventually(lambda: scene.replicas() == 0, what="stopped by one that never saw the hub")
    scene.link.heal()
    scene.eventually(lambda: scene.replicas() == 2, what="brought back")


def test_asked_by_the_hub_it_stops_its_side_and_says_so(scene: Scene) -> None:
    agent = scene.start()
    scene.wait_guarded()
    run = {"uid": "u", "name": "run", "to": EAST}
    scene.status(epoch=4, activeRegion=WEST, operation=run)

    async def ask_until_proved(ask: Callable[..., Awaitable[IsolationState]]) -> IsolationState:
        deadline = time.monotonic() + 60
        while not (state := await ask(Fence(4, 1, 8))).proved:
            assert time.monotonic() < deadline, scene.logs()
            await asyncio.sleep(min(0.1, state.retry_after))
        return state

    state = asyncio.run(scene.isolations(ask_until_proved))
    assert "4.1.8" in state.message
    assert scene.replicas() == 0
    assert scene.fence() == "4.1.8"
    assert f'regent_agent_stopped{{namespace="{scene.app}",policy="{scene.app}"}} 1.0' in agent.metrics()
    scene.status(epoch=5, activeRegion=WEST, operation=None)
    scene.eventually(lambda: scene.replicas() == 2, what="brought back after the run was rolled back")


def test_the_silence_of_an_agent_that_was_stopped_on_purpose_proves_nothing(scene: Scene) -> None:
    agent = scene.start()
    scene.wait_guarded()
    assert agent.stop() == 0
    assert scene.lease()["spec"]["holderIdentity"] == ""

    async def ask_for_long(ask: Callable[..., Awaitable[IsolationState]]) -> None:
        deadline = time.monotonic() + WAIT + 1.0
        while time.monotonic() < deadline:
            state = await ask(Fence(4, 1, 8))
            assert (state.proved, state.possible) == (False, False)
            await asyncio.sleep(0.1)

    asyncio.run(scene.isolations(ask_for_long))
    assert scene.replicas() == 2


def test_of_two_agents_one_acts_and_the_other_takes_over(scene: Scene) -> None:
    first = scene.start()
    scene.wait_guarded()
    second = scene.start()
    scene.eventually(second.ready, what="the standby")
    holder = scene.lease()["spec"]["holderIdentity"]
    assert holder.startswith("agent-0_")
    first.stop(signal.SIGKILL)
    scene.eventually(lambda: scene.lease()["spec"]["holderIdentity"].startswith("agent-1_"), what="taken over")
    assert scene.replicas() == 2


def test_without_its_api_server_it_says_that_it_could_not_fence(scene: Scene) -> None:
    scene.start()
    scene.wait_guarded()
    scene.member.freeze()
    try:
        scene.eventually(
            lambda: (
                "does not answer" in scene.lease()["metadata"].get("annotations", {}).get("regent.dev/impaired", "")
            ),
            what="impaired",
        )
        scene.link.cut()

        async def ask_for_long(ask: Callable[..., Awaitable[IsolationState]]) -> None:
            deadline = time.monotonic() + WAIT + 2.0
            while time.monotonic() < deadline:
                assert not (await ask(Fence(4, 1, 8))).proved
                await asyncio.sleep(0.1)

        asyncio.run(scene.isolations(ask_for_long))
    finally:
        scene.member.thaw()
    scene.eventually(lambda: scene.replicas() == 0, what="stopped once its API server answers")


@pytest.fixture
def regions(hub: Cluster) -> Iterator[None]:
    """The two Regions as the operator would show them: both answer, and the west has a cluster of its own."""
    paths = [f"/apis/regent.dev/v1alpha1/regions/{name}" for name in (WEST, EAST)]
    for name, path in zip((WEST, EAST), paths, strict=True):
        kind = {"apiVersion": "regent.dev/v1alpha1", "kind": "Region", "metadata": {"name": name}}
        own = {"cluster": {"kubeconfigSecretRef": {"name": f"{name}-kubeconfig"}}} if name == WEST else {}
        probes = [{"name": "web", "tcp": {"port": 9}}]
        hub.apply({**kind, "spec": {"endpoint": "https://192.0.2.1", "probes": probes, **own}})
        times = {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""}
        reachable = {"type": "Reachable", "status": "True", "reason": "Up", **times}
        hub.api.patch(f"{path}/status", {"status": {"health": "Healthy", "conditions": [reachable]}})
    yield
    for path in paths:
        hub.api.delete(path)


def simulated(scene: Scene) -> dict[str, Any]:
    """What the command line foresees if the west went down now."""
    command = ["simulate", "--region", WEST, "--policy", scene.app, "-n", scene.app, "-o", "json"]
    argv = [sys.executable, "-m", "regent", "--kubeconfig", str(scene.hub.kubeconfig), *command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    (found,) = json.loads(done.stdout or "{}").get("policies") or [{"error": done.stderr}]
    return {**found, "code": done.returncode}


@pytest.mark.usefixtures("regions")
def test_a_simulation_knows_whether_the_agent_would_prove_it(scene: Scene) -> None:
    """Fails when it takes no agent, or one that was stopped, for a proof, or does not find one that is there."""
    path = f"/apis/regent.dev/v1alpha1/namespaces/{scene.app}/failoverpolicies/{scene.app}"
    scene.hub.api.patch(path, {"spec": {"safety": {"fencing": "Required"}}})
    alone = simulated(scene)
    assert (alone["code"], alone["outcome"], alone["reason"]) == (1, "Waits", "FencingNotProved"), alone
    assert "was stopped or has never run" in alone["message"]  # its chart is installed, and nothing more
    agent = scene.start()
    scene.wait_guarded()
    there = simulated(scene)
    assert (there["code"], there["outcome"]) == (0, "Moves"), there
    assert there["isolation"][0]["proved"] is True
    assert f"the agent in {WEST} would have fenced it" in there["isolation"][0]["message"]
    agent.stop()
    stopped = simulated(scene)
    assert (stopped["code"], stopped["reason"]) == (1, "FencingNotProved"), stopped
    assert "was stopped or has never run" in stopped["message"]
