"""`make demo-database`: PostgreSQL moves to the other region, once on purpose and once because its region dies.

A client writes increasing integers through the gateway all the while and keeps a list of those that were acknowledged.
At the end both databases are asked for every integer that they have: after the planned move nothing may be missing,
after the unplanned one no more than the run has told, or the demo fails.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import Any

import click

from testbed.controlplane import Component, ControlPlane
from testbed.database import WriterLoop, Writes
from testbed.database.environment import patroni_environment, postgresql_binaries
from testbed.database.scene import DatabaseScene
from testbed.demo import story
from testbed.demo.narrator import Narrator, perform
from testbed.demo.story import Moment
from testbed.gateway import TraefikGateway
from testbed.operator import OperatorReplicas, Restart, install
from testbed.scene import eventually, failover
from testbed.toolchain import control_plane_binary, ensure

Json = dict[str, Any]
WEST, CENTRAL = "eu-west-1", "eu-central-1"
SETTINGS = {"failover": {"startupGrace": "2s"}, "egress": {"allowLoopback": True}}
"""A short grace, because nobody wants to wait; loopback, because the gateway is a process of this machine."""
POLICY = {"safety": {"fencing": "BestEffort", "cooldown": "0s"}, "failback": {"mode": "Never"}}
"""BestEffort: a region whose machine is dead can prove nothing, and this demo has no agents that could."""
CALM = 2.0
"""Seconds of writes before and after each move."""
PATIENCE = 90.0
"""Seconds after which the demo gives up waiting for something to happen."""
WIDTH = 62


class DatabaseDemo(Narrator):
    """Plays the story."""

    def play(self) -> None:
        """Play it all; raises when a write is missing that may not be."""
        self._build()
        with ExitStack() as stack:
            with self.step("Starting etcd, API server, controller manager and the gateway; installing the chart"):
                plane = stack.enter_context(ControlPlane.start(name="demo-database"))
                installation = install(plane, settings=SETTINGS)
                gateway = stack.enter_context(TraefikGateway(plane))
            self.say(f"          PostgreSQL under Patroni in {WEST} (primary) and {CENTRAL} (its standby cluster):")
            scene = stack.enter_context(DatabaseScene(plane, gateway, [WEST, CENTRAL]))
            scene.grant()
            with self.step("Starting two replicas of the operator with the chart's account and arguments"):
                replicas = stack.enter_context(OperatorReplicas(installation, restart=Restart.ALWAYS))
                stack.push(
                    lambda _kind, error, _trace: self.last_words(replicas) if isinstance(error, Exception) else None
                )
            with self.step("Applying 2 Regions and a FailoverPolicy with a Patroni step; waiting until it is adopted"):
                scene.apply_regions()
                scene.apply_policy(**POLICY)
                scene.wait_adopted(timeout=PATIENCE)
                self._wait_candidate(scene)
            writer = stack.enter_context(scene.writer())
            with self.step(f"Writing 50 integers/s through {gateway.url}; {WEST} takes them for {CALM:.0f} s"):
                self._calm(writer, WEST)
            planned = self._switch_over(scene, writer)
            unplanned = self._fail_over(scene, writer)
            self._come_back(scene)
            self._check(scene, writer.stop(), planned=planned, unplanned=unplanned)
            self._wait_candidate(scene)
            self.show(scene, "fpol", "-A")
            self.show(scene, "fo", "-A")
            self.say(f"\nThe primary moved twice. {time.monotonic() - self._began:.0f} s in all.")

    def _build(self) -> None:
        click.echo("Programs (built from pinned Go modules on the first run, about 15 minutes):")
        for component in Component:
            click.echo(f"  {component.value:<24} {control_plane_binary(component.value)}")
        for name in ("kubectl", "helm", "traefik"):
            click.echo(f"  {name:<24} {control_plane_binary(name) if name == 'kubectl' else ensure(name)}")
        click.echo(f"  {'postgres':<24} {postgresql_binaries() / 'postgres'}")
        click.echo(f"  {'patroni':<24} {patroni_environment() / 'patroni'}")
        self._began = time.monotonic()

    def _calm(self, writer: WriterLoop, region: str, *, since: float = 0.0) -> None:
        first = writer.wait_acknowledged_by(region, timeout=PATIENCE, since=since)
        writer.wait_acknowledged_by(region, timeout=PATIENCE, since=first.sent + CALM)

    def _wait_candidate(self, scene: DatabaseScene) -> None:
        eventually(
            lambda: any(row.get("eligible") for row in scene.status().get("candidates") or []),
            what="a region that could take over",
            timeout=PATIENCE,
        )

    # -- the acts -----------------------------------------------------------------------------------------------

    def _switch_over(self, scene: DatabaseScene, writer: WriterLoop) -> Json:
        self.say(f"\n=== Planned: somebody creates a Failover of type Switchover, {WEST} → {CENTRAL}")
        since = time.monotonic()
        order = {"type": "Switchover", "from_": WEST, "to": CENTRAL, "reason": "maintenance"}
        scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name="maintenance", **order))
        with self.step(f"Waiting for {CENTRAL} to acknowledge writes"):
            writer.wait_acknowledged_by(CENTRAL, timeout=PATIENCE, since=since)
        with self.step("Waiting for the run to end"):
            run = scene.wait_run(number=1, timeout=PATIENCE)
        self._expect(run, CENTRAL)
        self._calm(writer, CENTRAL, since=since)
        self._timeline(run, writer.writes(), since=since, cause="Failover maintenance created")
        return run

    def _fail_over(self, scene: DatabaseScene, writer: WriterLoop) -> Json:
        self.say(f"\n=== Unplanned: {CENTRAL} dies: Patroni and PostgreSQL are killed with SIGKILL")
        self._wait_candidate(scene)
        since = scene.databases[CENTRAL].kill()
        with self.step(f"Waiting for {WEST} to acknowledge writes"):
            writer.wait_acknowledged_by(WEST, timeout=PATIENCE, since=since)
        with self.step("Waiting for the run to end"):
            run = scene.wait_run(number=2, timeout=PATIENCE)
        self._expect(run, WEST)
        self._calm(writer, WEST, since=since)
        self._timeline(run, writer.writes(), since=since, cause=f"{CENTRAL} killed")
        return run

    def _come_back(self, scene: DatabaseScene) -> None:
        self.say(f"\n=== {CENTRAL} is started again; it takes itself for the primary, and promotes itself")
        database = scene.databases[CENTRAL]
        database.start_patroni()
        with self.step("Waiting for Regent to say what it has that the new primary does not"):
            report = eventually(lambda: self._report(scene), what="the divergence to be reported", timeout=PATIENCE)
        self.say(f"          {report}")
        with self.step(f"Making it anew from {WEST}, as it says; waiting until Regent takes it back as a standby"):
            database.rebuild(scene.databases[WEST])
            database.wait_role("standby-leader", timeout=PATIENCE)
            database.wait_streaming(timeout=PATIENCE)
            eventually(lambda: not scene.status().get("rejoin"), what="the region to be taken back", timeout=PATIENCE)

    def _report(self, scene: DatabaseScene) -> str:
        rows = scene.status().get("rejoin") or []
        return next((str(row["message"]) for row in rows if "bytes of WAL on timeline" in row["message"]), "")

    # -- what is shown ------------------------------------------------------------------------------------------

    def _expect(self, run: Json, to: str) -> None:
        found = (run["status"]["phase"], run["status"]["plan"]["chosen"])
        if found != ("Succeeded", to):
            raise RuntimeError(f"{run['metadata']['name']} is {found}, but clients were moved to {to}")

    def _timeline(self, run: Json, writes: Writes, *, since: float, cause: str) -> None:
        to = run["status"]["plan"]["chosen"]
        first = next(write for write in writes.since(since).acknowledged if write.region == to)
        last = max(write.done for write in writes.acknowledged if write.region != to and write.done < first.done)
        moments = [
            Moment(since, cause, "demo"),
            Moment(last, "last write acknowledged by the old primary", "client"),
            Moment(first.done, f"first write acknowledged by {to}", "client"),
        ]
        for step in run["status"]["steps"]:
            if step["state"] == "Succeeded" and step.get("completionTime") and step["name"] not in story.QUIET:
                text = f"{step['name']}: {step.get('message', '')}".rstrip(": ")
                text = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
                moments.append(Moment(story.monotonic_of(step["completionTime"]), text, "journal"))
        moments.sort(key=lambda moment: moment.time)
        for line in story.lines(moments, start=since):
            self.say(line)
        self.say(f"  {first.done - last:.2f} s without writes")

    def _check(self, scene: DatabaseScene, writes: Writes, *, planned: Json, unplanned: Json) -> None:
        """The list of acknowledged writes against what the databases have."""
        self.say("\n=== The list: every integer that a client was told is written, against both databases")
        databases = list(scene.databases)
        eventually(scene.alike, what="both databases to have the same integers", timeout=PATIENCE)
        present = databases[0].numbers()
        moved = story.monotonic_of(unplanned["status"]["startTime"])
        lost = writes.lost(present)
        early = [write for write in lost if write.done < story.monotonic_of(planned["status"]["completionTime"])]
        told = str(unplanned["status"].get("estimatedDataLoss") or "nothing")
        found = re.search(r"at most the writes of the last ([\d.]+) s", told)
        isolated = max(s["completionTime"] for s in unplanned["status"]["steps"] if s["name"] == "Isolate")
        bound = story.monotonic_of(isolated) - float(found[1]) if found else moved
        beyond = [write for write in lost if write.done < bound]
        for database in databases:
            self.say(f"  {database.name:<14} {len(present)} integers")
        self.say(f"  acknowledged   {len(writes.acknowledged)}, of which {len(lost)} are missing")
        self.say(f"  told           {told}")
        back = writes.resurrected(present)
        if early or beyond or back:
            raise RuntimeError(
                f"lost in the planned move: {len(early)}; lost beyond what was told: {len(beyond)}; "
                f"there although refused: {len(back)}"
            )
        self.say("  nothing was lost in the planned move, and no more than was told in the unplanned one")


@click.command("demo-database")
def demo_database() -> None:
    """PostgreSQL moves to another region and back, and every acknowledged write is checked; needs root."""
    perform(DatabaseDemo().play)
