"""Plays the demo on real parts: control plane, gateway, three regions, two replicas of the operator, clients.

Every part is a process of this machine and ends with the demo. Traffic must have moved twice, by what the clients saw,
or the demo fails.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any

import click

from testbed.controlplane import Component, ControlPlane
from testbed.demo import story
from testbed.demo.narrator import Narrator, perform
from testbed.demo.observer import Observer
from testbed.gateway import TraefikGateway
from testbed.load import ClientLoop
from testbed.operator import OperatorReplicas, Restart, install
from testbed.scene import Scene
from testbed.toolchain import control_plane_binary, ensure

Json = dict[str, Any]
REGIONS = {
    "eu-west-1": {"tier": "Primary", "displayName": "Europe (Ireland)"},
    "eu-central-1": {"tier": "Secondary", "displayName": "Europe (Frankfurt)"},
    "us-east-1": {"tier": "Tertiary", "displayName": "United States (Virginia)"},
}
SETTINGS = {"failover": {"startupGrace": "2s"}, "egress": {"allowLoopback": True}}
"""A short grace, because nobody wants to wait; loopback, because the gateway is a process of this machine."""
POLICY = {"failback": {"mode": "Automatic", "stabilization": "4s"}, "safety": {"cooldown": "3s"}}
RATE = 100.0
CALM = 2.0
"""Seconds of traffic before the fault."""
PATIENCE = 60.0
"""Seconds after which the demo gives up waiting for traffic to move."""


class Demo(Narrator):
    """Plays the story."""

    def play(self, *, keep: bool) -> None:
        """Play it all; raises when traffic does not move."""
        self._build()
        with ExitStack() as stack:
            with self.step("Starting etcd, API server and controller manager"):
                plane = stack.enter_context(ControlPlane.start(name="demo"))
            with self.step("Installing the chart: definitions, ServiceAccount, roles, settings"):
                installation = install(plane, settings=SETTINGS)
            with self.step("Starting the gateway (Traefik) and three regions, each in a network of its own"):
                gateway = stack.enter_context(TraefikGateway(plane))
                scene = stack.enter_context(Scene(plane, gateway, list(REGIONS)))
            observer = stack.enter_context(Observer(plane.kubeconfig))
            with self.step("Starting two replicas of the operator with the chart's account and arguments"):
                replicas = stack.enter_context(OperatorReplicas(installation, restart=Restart.ALWAYS))
                stack.push(
                    lambda _kind, error, _trace: self.last_words(replicas) if isinstance(error, Exception) else None
                )
            self.say(f"          leader: {replicas.leader().name}, standby: {replicas.standby().name}")
            with self.step("Applying 3 Regions and a FailoverPolicy; waiting until the policy is adopted and proved"):
                plane.apply([scene.region_manifest(name, **spec) for name, spec in REGIONS.items()])
                scene.apply_policy(**POLICY)
                scene.wait_adopted()
                self._wait_healthy(scene)
            clients = stack.enter_context(scene.client(rate=RATE))
            with self.step(f"Sending {RATE:.0f} requests/s to {gateway.url}; eu-west-1 answers for {CALM:.0f} s"):
                first = clients.wait_served_by("eu-west-1", timeout=10.0)
                clients.wait_served_by("eu-west-1", timeout=10.0, since=first.sent + CALM)
            self._fail_over(scene, observer, clients)
            self._fail_back(scene, observer, clients)
            for what in (["regions"], ["fpol", "-A"], ["fo", "-A"]):
                self.show(scene, *what)
            total = clients.timeline()
            by_region = ", ".join(f"{count} by {name}" for name, count in total.by_region().items())
            self.say(f"\n{len(total.records)} requests in all: {by_region}, {total.lost} lost.")
            self.say(f"Traffic moved twice, as the clients saw it. {time.monotonic() - self._began:.0f} s in all.")
            if keep:
                self._keep(plane, gateway, scene)

    def _build(self) -> None:
        click.echo("Programs (built from pinned Go modules on the first run, about 15 minutes):")
        for component in Component:
            click.echo(f"  {component.value:<24} {control_plane_binary(component.value)}")
        for name in ("kubectl", "helm", "traefik"):
            click.echo(f"  {name:<24} {control_plane_binary(name) if name == 'kubectl' else ensure(name)}")
        self._began = time.monotonic()

    def _wait_healthy(self, scene: Scene) -> None:
        deadline = time.monotonic() + 15.0
        while [scene.health(name) for name in REGIONS] != ["Healthy"] * 3:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the regions are {[scene.health(name) for name in REGIONS]}")
            time.sleep(0.05)

    def _fail_over(self, scene: Scene, observer: Observer, clients: ClientLoop) -> None:
        self.say("\n=== eu-west-1 dies: its server is killed, its port refuses")
        since = scene.region("eu-west-1").kill()
        with self.step("Waiting for clients to be served by another region"):
            served = clients.wait_for(
                lambda record: record.good and record.region not in ("", "eu-west-1"), timeout=PATIENCE, since=since
            )
        with self.step("Waiting for the run to prove it through the gateway and to end"):
            run = scene.wait_run(number=1, timeout=PATIENCE)
        self._expect(run, source="eu-west-1", to=served.region)
        self._print(scene, observer, clients, run, since=since, fault="eu-west-1 killed")

    def _fail_back(self, scene: Scene, observer: Observer, clients: ClientLoop) -> None:
        source = scene.status()["activeRegion"]
        stabilization = POLICY["failback"]["stabilization"]
        self.say(f"\n=== eu-west-1 comes back; failback is Automatic after {stabilization} of health")
        since = scene.region("eu-west-1").heal()
        with self.step("Waiting for clients to be served by eu-west-1 again"):
            clients.wait_served_by("eu-west-1", timeout=PATIENCE, since=since)
        with self.step("Waiting for the run to end"):
            run = scene.wait_run(number=2, timeout=PATIENCE)
        self._expect(run, source=source, to="eu-west-1")
        self._print(scene, observer, clients, run, since=since, fault="eu-west-1 serves again")

    def _expect(self, run: Json, *, source: str, to: str) -> None:
        status = run["status"]
        found = (status["phase"], run["spec"].get("from"), status["plan"]["chosen"])
        if found != ("Succeeded", source, to):
            raise RuntimeError(f"{run['metadata']['name']} is {found}, but clients were moved from {source} to {to}")

    def _print(
        self, scene: Scene, observer: Observer, clients: ClientLoop, run: Json, *, since: float, fault: str
    ) -> None:
        source, to = run["spec"]["from"], run["status"]["plan"]["chosen"]
        timeline = clients.timeline()
        moments = story.tell(
            observer=observer, clients=timeline, run=run, source=source, to=to, since=since, fault=fault
        )
        for line in story.lines(moments):
            self.say(line)
        self.say(story.summary(timeline, since=since, until=time.monotonic()))

    def _keep(self, plane: ControlPlane, gateway: TraefikGateway, scene: Scene) -> None:
        self.say("\nKEEP=1: everything goes on running until Ctrl-C. In another terminal:")
        self.say(f"  export KUBECONFIG={plane.kubeconfig}")
        self.say(f"  alias kubectl={plane.kubectl}")
        self.say(f"  kubectl describe fpol -n {scene.namespace} {scene.app}")
        self.say(f"  curl -si -H 'Host: {scene.host}' {gateway.url}/")
        for region in scene.regions:
            self.say(f"  kill -STOP {region.pid}    # {region.name} hangs; kill -CONT {region.pid} heals it")
        while True:
            time.sleep(3600.0)


@click.command()
@click.option("--keep", is_flag=True, default=os.environ.get("KEEP", "") not in ("", "0"), help="Leave it running.")
def demo(keep: bool) -> None:
    """A region dies, Regent moves its traffic to another one and returns it later; needs root."""
    perform(lambda: Demo().play(keep=keep), interrupted=0 if keep else 130)
