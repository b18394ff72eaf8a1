"""Rounds of faults on a database scene, drawn from a seed, and what has to be true after each.

A round is one fault (or a planned switchover), one way of being guarded against two primaries, and perhaps something
that befalls the operator meanwhile. A client writes through the gateway all the time, and a neighbour inside each
region writes to the database there past the gateway, whatever is cut: it sees a primary that nobody else does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from testbed.database import Database, Write, WriterLoop, Writes
from testbed.database.agents import Agents
from testbed.database.scene import DatabaseScene
from testbed.database.writer import fewest_turns
from testbed.demo.story import monotonic_of
from testbed.operator import OperatorReplicas
from testbed.operator.link import Link
from testbed.scene import eventually, failover, never

Json = dict[str, Any]
PATIENCE = 90.0
"""Seconds for everything that has to come about: a machine may have far more to do than it has cores for."""
SMALLEST = 100
"""Bytes of WAL that an insert and its commit take at the least."""
SHOWN = 5.0
"""Seconds without an agent after which a region that came back must be shown as held back."""
ROOM = 10**8
"""Integers for one round; each of its clients has a part of them."""


class Fault(Enum):
    """What happens to the active region."""

    SWITCHOVER = "planned switchover"
    KILL = "region killed"
    CUT = "region cut"
    HIDE = "region hidden from hub and gateway, not from its standby"
    BLIP = "region cut for a moment"
    DIE = "database killed, its region's agent lives"
    RETURN = "region killed whole, comes back by itself"


class Guard(Enum):
    """What stands between a lost region and a second primary."""

    AGENTS = "agents"
    POLICY = "no agents, the policy allows it"
    PERSON = "no agents, a person allows it"


class Trouble(Enum):
    """What happens to the operator's leader."""

    NONE = "nothing"
    KILL = "leader killed"
    CUT = "leader cut from the API server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round. Times in seconds."""

    number: int
    fault: Fault
    guard: Guard = Guard.AGENTS
    trouble: Trouble = Trouble.NONE
    after: float = 0.0
    """From the fault to the trouble; the trouble comes first where it is negative."""
    lasting: float = 0.0
    """How long the leader is cut."""
    blip: float = 0.0
    """How long the region is cut, where that ends by itself."""
    late: float = 0.0
    """How much later than its database a returning region's agent starts; negative: it comes first."""

    @property
    def needs_person(self) -> bool:
        """Whether nobody but a person can say that the other region may be promoted: there is no agent, or one that
        reaches the hub and can prove nothing about a database that does not answer it."""
        return self.guard is Guard.PERSON or self.fault is Fault.DIE

    def __str__(self) -> str:
        text = f"round {self.number}: {self.fault.value}, {self.guard.value}"
        if self.fault is Fault.BLIP:
            text += f" ({self.blip:.2f} s)"
        if self.fault is Fault.RETURN:
            text += f" (agent {self.late:+.2f} s)"
        if self.trouble is not Trouble.NONE:
            text += f", {self.trouble.value} {self.after:+.2f} s"
        return text + (f" for {self.lasting:.2f} s" if self.trouble is Trouble.CUT else "")


def draw(random: Random, count: int) -> list[Round]:
    """`count` rounds. The first three are one of each sort: planned, guarded by agents, and by nobody."""
    alone = [(fault, guard) for fault in (Fault.CUT, Fault.KILL) for guard in (Guard.POLICY, Guard.PERSON)]
    guarded = [(fault, Guard.AGENTS) for fault in (Fault.KILL, Fault.CUT, Fault.HIDE, Fault.BLIP)]
    guarded += [(Fault.RETURN, Guard.AGENTS)] * 2
    planned = (Fault.SWITCHOVER, Guard.AGENTS)
    first = [planned, random.choice(guarded), random.choice(alone)]
    random.shuffle(first)
    more = [planned, planned, *guarded, (Fault.DIE, Guard.AGENTS)]
    rest = [random.choice([*more, random.choice(alone)]) for _ in range(count - len(first))]
    return [_round(random, number, *sort) for number, sort in enumerate([*first, *rest][:count], start=1)]


def _round(random: Random, number: int, fault: Fault, guard: Guard) -> Round:
    trouble = random.choice([Trouble.NONE, Trouble.KILL, Trouble.CUT])
    return Round(
        number=number,
        fault=fault,
        guard=guard,
        trouble=trouble,
        after=round(random.uniform(-0.5, 4.0), 2),
        lasting=round(random.uniform(0.5, 8.0), 2),
        blip=round(random.uniform(0.3, 12.0), 2),
        late=round(random.uniform(-3.0, 8.0), 2),
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """What a run said about its loss: writes acknowledged after `since` (monotonic seconds) may be lost."""

    since: float
    text: str


class Rounds:
    """Plays rounds on one scene with two regions; `play` raises AssertionError with what was not true."""

    def __init__(
        self, scene: DatabaseScene, *, agents: Agents, operators: OperatorReplicas, links: Sequence[Link]
    ) -> None:
        self._scene = scene
        self._agents = agents
        self._operators = operators
        self._links = links
        self._guard: Guard | None = None
        self.planned_pauses: list[float] = []

    def play(self, item: Round) -> str:
        """Play one round; gives its figures in a line."""
        self._prepare(item)
        return _Play(self._scene, self._agents, self, item).play()

    def situation(self) -> str:
        """What somebody needs who looks for the cause of a failure."""
        status = self._scene.status()
        shown = {name: status.get(name) for name in ("activeRegion", "operation", "rejoin", "candidates")}
        reasons = [f"{row['type']}={row['status']} {row['message']}" for row in status.get("conditions") or []]
        bases = [f"{database.name}: {database.status()}" for database in self._scene.databases]
        runs = [run for run in self._scene.runs() if not (run.get("status") or {}).get("completionTime")]
        parts = [str(shown), *reasons, *bases, _told(runs), self._agents.logs()[-4000:]]
        return "\n".join(parts)

    def leader_trouble(self, item: Round) -> list[tuple[float, Callable[[], object]]]:
        """What befalls the operator, each with its time after the fault."""
        if item.trouble is Trouble.NONE:
            return []
        leader = self._operators.leader(timeout=PATIENCE)
        link = self._links[self._operators.members.index(leader)]
        if item.trouble is Trouble.KILL:
            return [(item.after, leader.kill)]
        return [(item.after, link.cut), (item.after + item.lasting, link.heal)]

    def _prepare(self, item: Round) -> None:
        for member in self._operators:
            if not member.running:  # it waits longer with each restart, as a pod's container does
                member.terminate()
                member.start()
        self._operators.leader(timeout=PATIENCE)
        if self._guard is not item.guard:
            fencing = "BestEffort" if item.guard is Guard.POLICY else "Required"
            self._scene.apply_policy(
                promotion=self._scene.promotion(hosts=True),
                safety={"fencing": fencing, "cooldown": "0s"},
                failback={"mode": "Never"},
            )
            eventually(
                lambda: (self._scene.status().get("effective") or {}).get("fencing") == fencing,
                what=f"fencing to be {fencing}",
                timeout=PATIENCE,
            )
            self._guard = item.guard
        if item.guard is Guard.AGENTS:
            self._agents.start(timeout=PATIENCE)
        else:
            self._agents.stop()
        eventually(lambda: bool(self._scene.primary()), what="one primary", timeout=PATIENCE)
        eventually(self._ready, what="a region that could take over", timeout=PATIENCE)

    def _ready(self) -> bool:
        rows = self._scene.status().get("candidates") or []
        assert any(row.get("eligible") for row in rows), rows
        return True


class _Play:
    """One round as it is played."""

    def __init__(self, scene: DatabaseScene, agents: Agents, rounds: Rounds, item: Round) -> None:
        self._scene = scene
        self._agents = agents
        self._rounds = rounds
        self._item = item
        self._source = scene.primary()
        self._to = next(database for database in scene.databases if database is not self._source)
        self._known = {run["metadata"]["uid"] for run in scene.runs()}
        self._began = 0.0
        self._reports: list[str] = []
        self._rebuilt = False
        self._returned = float("inf")

    def play(self) -> str:
        first = self._item.number * ROOM
        with ExitStack() as stack:
            client = stack.enter_context(self._scene.writer(first=first))
            neighbours = {
                name: stack.enter_context(self._scene.neighbour(name, first=first + place * ROOM // 10))
                for place, name in enumerate(self._scene.names, start=1)
            }
            for loop in (client, neighbours[self._source.name]):
                seen = loop.wait_acknowledged_by(self._source.name, timeout=PATIENCE)
                loop.wait_acknowledged_by(self._source.name, timeout=PATIENCE, since=seen.sent + 0.5)
            self._break()
            self._outcome(client, neighbours)
            self._come_back(neighbours[self._source.name])
            eventually(self._calm, what="calm after the faults", timeout=PATIENCE)
            healed = time.monotonic()
            client.wait_for(lambda write: write.acknowledged, timeout=PATIENCE, since=healed)
        return self._claims(client.writes(), {name: loop.writes() for name, loop in neighbours.items()})

    # -- what happens -------------------------------------------------------------------------------------------

    def _break(self) -> None:
        item = self._item
        events: list[tuple[float, Callable[[], object]]] = [(0.0, self._fault), *self._rounds.leader_trouble(item)]
        if item.fault is Fault.BLIP:
            events.append((item.blip, self._source.namespace.heal))
        events.sort(key=lambda event: event[0])
        start = time.monotonic() - min(0.0, events[0][0])
        self._began = start
        for at, act in events:
            time.sleep(max(0.0, start + at - time.monotonic()))  # the schedule itself, nothing is waited for
            act()

    def _fault(self) -> None:
        source, item = self._source, self._item
        if item.fault is Fault.SWITCHOVER:
            self._scene.cluster.apply(
                failover(
                    self._scene.app,
                    namespace=self._scene.namespace,
                    name=f"planned-{item.number}",
                    type="Switchover",
                    from_=source.name,
                    to=self._to.name,
                )
            )
        elif item.fault is Fault.RETURN:
            self._agents[source.name].kill()
            source.power_off()
        elif item.fault in (Fault.KILL, Fault.DIE):
            if item.fault is Fault.KILL:
                self._agents[source.name].kill()
            source.kill()
        elif item.fault is Fault.HIDE:
            source.namespace.drop(source=self._scene.network.host_address)
        else:
            source.namespace.cut()

    def _outcome(self, client: WriterLoop, neighbours: dict[str, WriterLoop]) -> None:
        item = self._item
        if item.fault is Fault.BLIP:
            return  # short ones change nothing, long ones move the role: both are fine
        if item.needs_person:
            run = eventually(self._held, what="the run to ask a person", timeout=PATIENCE)
            asked = time.monotonic()

            def promoted() -> bool:
                return any(write.acknowledged for write in neighbours[self._to.name].writes().since(asked).writes)

            never(promoted, what="a promotion that nobody allowed", during=2.0)
            path = self._scene.path("failovers", run["metadata"]["name"])
            self._scene.cluster.api.patch(path, {"spec": {"control": {"acceptDataLoss": True}}})
        client.wait_acknowledged_by(self._to.name, timeout=PATIENCE, since=self._began)

    def _held(self) -> Json:
        for run in self._runs():
            conditions = {row["type"]: row for row in (run.get("status") or {}).get("conditions") or []}
            if (conditions.get("Ready") or {}).get("reason") == "FencingNotProved":
                assert run["status"]["phase"] == "Paused", run["status"]
                return run
        raise AssertionError([run.get("status") for run in self._runs()])

    def _come_back(self, neighbour: WriterLoop) -> None:
        """The region returns, as it would: what was cut is connected, what was killed is started."""
        item, source = self._item, self._source
        alone = item.guard is not Guard.AGENTS
        if alone:
            # What it writes from here on would be in the report or not, as it comes.
            neighbour.stop()
        if item.fault is Fault.RETURN:
            # Nobody tells it anything: its own configuration store says that it is the primary.
            self._returned = time.monotonic()
            agent = self._agents[source.name]
            first, second = (agent.start, source.power_on) if item.late < 0 else (source.power_on, agent.start)
            first()
            time.sleep(abs(item.late))
            if item.late > SHOWN:
                eventually(self._shown, what="the region to be shown as held back", timeout=PATIENCE)
            second()
        elif item.fault not in (Fault.KILL, Fault.DIE):
            source.namespace.heal()
        elif alone:
            source.start_patroni()  # it takes itself for the primary, as its own configuration store says
        else:
            source.rejoin(self._to)
            self._agents[source.name].start()

    def _shown(self) -> bool:
        """Whether the status says that the region is back, and why it is no primary."""
        rows = self._scene.status().get("rejoin") or []
        return any(
            row["region"] == self._source.name and "kept from becoming a primary" in row["message"] for row in rows
        )

    def _calm(self) -> bool:
        """Everything is over, one region is primary, the other one follows, and nothing is left to be said."""
        status = self._scene.status()
        self._allow(status)
        assert not status.get("rejoin"), status["rejoin"]
        assert not status.get("operation"), status["operation"]
        assert all((run.get("status") or {}).get("completionTime") for run in self._runs()), "a run goes on"
        primary = self._scene.primary()
        assert status["activeRegion"] == primary.name, f"{primary.name} is primary, {status['activeRegion']} is active"
        other = self._other(primary).status()[1]
        assert other.get("replication_state") == "streaming", other
        return True

    def _allow(self, status: Json) -> None:
        """Say the word that a person is asked for, once the report has all that the region wrote."""
        for row in status.get("rejoin") or []:
            if re.search(r"wrote \d+ bytes of WAL on timeline", row["message"]) is None:
                continue
            if self._item.guard is Guard.AGENTS:
                raise RuntimeError(f"a region with an agent wrote beside the primary: {row['message']}")
            if row["message"] not in self._reports:
                self._reports.append(row["message"])
            if "It promoted itself since" in row["message"]:
                if not self._rebuilt:
                    self._source.rebuild(self._to)
                self._rebuilt = True
                continue
            said = f"{row['region']}@{self._scene.status()['epoch']}"
            annotation = {"metadata": {"annotations": {"regent.dev/rejoin": said}}}
            self._scene.cluster.api.patch(self._scene.path("failoverpolicies", self._scene.app), annotation)

    # -- what has to be true ------------------------------------------------------------------------------------

    def _claims(self, client: Writes, neighbours: dict[str, Writes]) -> str:
        item, primary = self._item, self._scene.primary()
        present = primary.numbers()
        # Streaming for a moment proves nothing: a standby of another history streams for a moment, too.
        eventually(self._scene.alike, what="the follower to have all", timeout=PATIENCE)
        runs = self._runs()
        bounds = [bound for run in runs if (bound := bound_of(run)) is not None]
        for writes in (client, *neighbours.values()):
            assert writes.resurrected(present) == [], f"{item}: refused writes are there"
        lost = client.lost(present)
        isolated = [write for writes in neighbours.values() for write in writes.lost(present)]
        if item.fault is Fault.SWITCHOVER:
            assert [run["status"]["phase"] for run in runs] == ["Succeeded"], f"{item}: {_told(runs)}"
            assert lost + isolated == [], f"{item}: {_told(runs)}"
            self._rounds.planned_pauses.append(client.pause(since=self._began - 1.0))
        self._claim_bounded(lost, bounds, runs)
        beside = neighbours[self._source.name].since(self._returned).acknowledged
        assert not beside, f"{item}: a region that came back took {len(beside)} writes: {beside[:5]}"
        if item.guard is Guard.AGENTS:
            self._claim_bounded(isolated, bounds, runs)
            accepted = [write for writes in (client, *neighbours.values()) for write in writes.acknowledged]
            turns, promotions = fewest_turns(accepted), sum(map(_promotions, runs))
            assert turns <= promotions, f"{item}: {turns} turns of the primary, {promotions} promotions, {_told(runs)}"
        else:
            unreported = [write for write in isolated if not _covered(write, bounds)]
            reported = max((int(re.findall(r"wrote (\d+) bytes", text)[0]) for text in self._reports), default=0)
            assert reported >= SMALLEST * len(unreported), f"{item}: {len(unreported)} writes, {self._reports}"
        return (
            f"{item}: {client.pause(since=self._began - 1.0):.2f} s without writes, lost {len(lost)} of "
            f"{len(client.acknowledged)}, isolated {len(isolated)}; {', '.join(run['status']['phase'] for run in runs)}"
            + "".join(f"; {text}" for text in (*(bound.text for bound in bounds), *self._reports))
        )

    def _claim_bounded(self, lost: Sequence[Write], bounds: Sequence[Bound], runs: Sequence[Json]) -> None:
        beyond = [write for write in lost if not _covered(write, bounds)]
        assert not beyond, f"{self._item}: lost beyond what was told: {beyond[:5]}, {bounds}, {_told(runs)}"

    def _runs(self) -> list[Json]:
        return [run for run in self._scene.runs() if run["metadata"]["uid"] not in self._known]

    def _other(self, database: Database) -> Database:
        return next(item for item in self._scene.databases if item is not database)


def _covered(write: Write, bounds: Sequence[Bound]) -> bool:
    return any(write.done >= bound.since for bound in bounds)


def bound_of(run: Json) -> Bound | None:
    """What a run told of its loss; None when it said nothing, and so nothing may be lost.

    Its seconds count back from when it looked, which was after the old side was isolated.
    """
    text = run["status"].get("estimatedDataLoss")
    if not text:
        return None
    found = re.search(r"at most the writes of the last ([\d.]+) s", text)
    if found is None:
        assert "unknown" in text, text
        return Bound(float("-inf"), text)
    isolated = max(step["completionTime"] for step in run["status"]["steps"] if step["name"] == "Isolate")
    return Bound(monotonic_of(isolated) - float(found[1]), text)


def _promotions(run: Json) -> int:
    """How often a run may have moved the role: once for each promotion that it began, and once to take it back."""
    began = [step for step in run["status"]["steps"] if step["name"] == "Promote/db" and step["state"] != "Skipped"]
    undone = [step for step in run["status"]["steps"] if step["name"] == "RollBack"]
    return len(began) + len(undone)


def _steps(run: Json) -> list[Json]:
    return list((run.get("status") or {}).get("steps") or ())


def _told(runs: Sequence[Json]) -> str:
    return "; ".join(
        f"{run['metadata']['name']} {(run.get('status') or {}).get('phase')}: "
        + ", ".join(f"{item['name']} {item['state']} {item.get('message', '')}" for item in _steps(run))
        for run in runs
    )
