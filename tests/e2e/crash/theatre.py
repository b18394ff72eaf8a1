"""Plays runs again and again, each in a scene of its own, and does something to the leader.

A scene takes seconds to make and a standby seconds to take over, so the next scene is made while a run is recovered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.controlplane import ControlPlane
from testbed.crash import HEADER, PROGRAM, Boundaries, End, agent
from testbed.operator import ApiProxy, Faults, Hold, NoFaults, OperatorProcess, OperatorReplicas
from testbed.scene import Scene, eventually
from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import Flavour, furnish, make_scene, wait_settled
from tests.e2e.crash.ledger import Ledger, difference
from tests.e2e.members import kubelets, member_kubeconfig

Json = dict[str, Any]
DEADLINE = 90.0
"""Seconds for a run to end, whatever happens to it. A machine that is busy is no reason to fail."""
BEFORE, AFTER = ", before", ", after"
"""How the boundaries of a write end."""
AFTERWARDS = 3.0
"""Seconds in which a run that is over comes to its last boundaries."""
LOST_LEASE = 3
"""Exit code of a replica that has lost its lease."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A run that is over. `hit`: the boundary was reached; `seconds` from the reason of the run to its release."""

    ledger: Json
    seconds: float
    hit: bool
    boundaries: Sequence[str] = ()
    late: Sequence[tuple[str, int]] = ()
    """Writes of a leader whose time was over that have reached an API server, with the status of the answer."""


class Wake(Enum):
    """When a leader that stands still goes on."""

    AT_ONCE = "at once"  # as soon as the other one leads
    IN_THE_MIDDLE = "in the middle"  # when the other one has done what the first one was about to do
    AT_THE_END = "at the end"


@dataclass
class Theatre:
    """Context manager: two doomed replicas, a proxy before each API server, and scenes in advance.

    The proxies serve both replicas, so that faults outlive a leader.
    """

    stage: Stage
    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    members: bool = True
    """Whether there are member clusters, for flavours that need them."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.planes: list[ControlPlane] = []
            roads = [self.stage.installation.kubeconfig]
            if self.members:
                with ThreadPoolExecutor(2) as pool:
                    started = pool.map(lambda name: ControlPlane.start(name=name), ("west", "central"))
                    self.planes = [stack.enter_context(plane) for plane in started]
                stack.enter_context(kubelets(self.planes))
                roads += [member_kubeconfig(plane) for plane in self.planes]
            self.proxies = [stack.enter_context(ApiProxy(road)) for road in roads]
            hub, *self._roads = [proxy.kubeconfig for proxy in self.proxies]
            bounds = [Boundaries(self.directory / f"replica-{number}") for number in range(2)]
            self._workshop = ThreadPoolExecutor(1, thread_name_prefix="scenes")
            stack.callback(self._workshop.shutdown)
            self.replicas = stack.enter_context(
                OperatorReplicas(
                    self.stage.installation,
                    directory=self.directory,
                    settings=self.settings,
                    program=PROGRAM,
                    environment_for=lambda number: bounds[number].environment,
                    kubeconfig_for=lambda _: hub,
                    timeout=90,
                )
            )
            self._bounds = dict(zip([member.name for member in self.replicas], bounds, strict=True))
            self._next: dict[Flavour, Future[tuple[Scene, ExitStack]]] = {}
            self._wholes: dict[Flavour, Played] = {}
            stack.callback(self._discard)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def bounds(self, member: OperatorProcess) -> Boundaries:
        """The boundaries of a replica."""
        return self._bounds[member.name]

    # -- scenes ---------------------------------------------------------------------------------------------------

    def prepare(self, flavour: Flavour) -> None:
        """Begin to make a scene that a later play will use."""
        if flavour not in self._next:
            self._next[flavour] = self._workshop.submit(self._make, flavour)

    @contextmanager
    def scene(self, flavour: Flavour) -> Iterator[Scene]:
        """A scene at rest, with two replicas that are ready."""
        self.prepare(flavour)
        self._recall()
        scene, made = self._next.pop(flavour).result()
        try:
            self._wait_staffed()
            wait_settled(scene, self._planes(flavour))
            self._wait_staffed()
            yield scene
        finally:
            self._workshop.submit(made.close)

    def _planes(self, flavour: Flavour) -> Sequence[ControlPlane]:
        return self.planes if flavour.members else []

    def _wait_staffed(self) -> None:
        """Wait until two replicas are there, of which one leads. Who has ended (a busy machine loses leases, and a play
        may go wrong) is started again, as a kubelet would."""

        def staffed() -> bool:
            self._staff()
            ready = all(member.fetch("/readyz")[0] == 200 for member in self.replicas)
            return ready and any(member.leads() for member in self.replicas)

        eventually(staffed, what="two replicas and a leader", timeout=120)

    def _staff(self) -> None:
        for member in self.replicas:
            if not member.running:
                member.start()

    def _make(self, flavour: Flavour) -> tuple[Scene, ExitStack]:
        with ExitStack() as stack:
            scene = stack.enter_context(make_scene(self.stage))
            for plane in self._planes(flavour):
                stack.callback(plane.delete_namespace, scene.namespace)
            furnish(self.stage, scene, flavour, self._planes(flavour), self._roads)
            return scene, stack.pop_all()

    def _discard(self) -> None:
        for future in self._next.values():
            _, made = future.result()
            made.close()

    # -- plays ----------------------------------------------------------------------------------------------------

    def whole(self, flavour: Flavour) -> Played:
        """A run without a fault, played once: what all others have to equal, and the boundaries that there are."""
        for _ in range(3):
            if flavour not in self._wholes:
                played = self._undisturbed(flavour)
                if played is not None:
                    self._wholes[flavour] = played
        assert flavour in self._wholes, "the machine is too busy: leaders lose their lease in every undisturbed run"
        return self._wholes[flavour]

    def _undisturbed(self, flavour: Flavour) -> Played | None:
        """None where it was disturbed: the leader has lost its lease."""
        with self.scene(flavour) as scene:
            leader = self.replicas.leader()
            term = leader.pid
            ledger, began = Ledger.open(scene, self._planes(flavour)), time.monotonic()
            flavour.begin(scene)
            self.prepare(flavour)
            self._wait_over(scene)
            seconds = time.monotonic() - began
            self._wait_rest(scene)
            if not leader.running or leader.pid != term or not leader.leads():
                return None
            names = [item.name for item in self.bounds(leader).reached(scene.namespace)]
            return Played(ledger=ledger.read(), seconds=seconds, hit=False, boundaries=list(dict.fromkeys(names)))

    def killed_at(self, flavour: Flavour, boundary: str) -> Played:
        """Play one run whose leader is killed at `boundary`; the killed one is started again, as a kubelet would.

        Raises:
            AssertionError: the run did not end, or its ledger is not the expected one.
        """
        expected = self.whole(flavour).ledger
        with self.scene(flavour) as scene:
            ledger, began = Ledger.open(scene, self._planes(flavour)), time.monotonic()
            self._order(scene, boundary, End.KILL)
            flavour.begin(scene)
            self.prepare(flavour)
            hit = self._died(scene)
            self._wait_over(scene)
            seconds = time.monotonic() - began
            return Played(ledger=self.settled(ledger, expected), seconds=seconds, hit=hit)

    def overlapped_at(self, flavour: Flavour, boundary: str, *, wake: Wake) -> Played:
        """Play one run whose leader stands still at `boundary` until the other leads, and then goes on.

        At the boundary before a write, the write itself is on its way already: it stays in the network until then, so
        no check in the leader can take it back. `late` of what is returned are the writes of the old leader that have
        reached an API server since, with the status of the answer.

        Raises:
            AssertionError: as `killed_at`; or the old leader did not end by itself.
        """
        expected = self.whole(flavour).ledger
        with self.scene(flavour) as scene:
            ledger, began = Ledger.open(scene, self._planes(flavour)), time.monotonic()
            stop = self._in_flight if boundary.endswith(BEFORE) else self._standing
            with stop(scene, boundary) as stopped:
                flavour.begin(scene)
                eventually(lambda: stopped() or _over(scene), what="the boundary", timeout=DEADLINE, poll=0.01)
                sleeper = stopped()
                if sleeper is None:
                    return Played(ledger=self.settled(ledger, expected), seconds=time.monotonic() - began, hit=False)
                sleeper.freeze()
                # The order was for whoever led. The other one is to pass the boundary, not to stop there as well.
                self._recall()
                sleeping = agent(sleeper.pid)
                self._wait_overtaken(scene, sleeper, boundary, wake)
                before = [len(answers) for answers in self._answers(sleeping)]
            sleeper.thaw()
            code = sleeper.wait_ended(timeout=60)
            assert code == LOST_LEASE, f"the old leader ended with {code}:\n{sleeper.tail()}"
            self._wait_over(scene)
            seconds = time.monotonic() - began
            late = [
                item for answers, seen in zip(self._answers(sleeping), before, strict=True) for item in answers[seen:]
            ]
            return Played(ledger=self.settled(ledger, expected), seconds=seconds, hit=True, late=late)

    @contextmanager
    def _standing(self, scene: Scene, boundary: str) -> Iterator[Callable[[], OperatorProcess | None]]:
        """Stop the process that comes to the boundary."""
        self._order(scene, boundary, End.STOP)

        def standing() -> OperatorProcess | None:
            member = self._obeyed()
            if member is not None:
                # Its order is gone a moment before it stops. Stopped by us in between, it would stop itself once more
                # when it is woken, for ever.
                member.wait_stopped()
            return member

        try:
            yield standing
        finally:
            self._recall()

    @contextmanager
    def _in_flight(self, scene: Scene, boundary: str) -> Iterator[Callable[[], OperatorProcess | None]]:
        """Keep the write on its way; at the end it arrives."""
        hold = Hold(HEADER, f"{scene.namespace} {boundary.removesuffix(BEFORE)}")
        for proxy in self.proxies:
            proxy.hold = hold

        def sender() -> OperatorProcess | None:
            return next((member for member in self.replicas if hold.agent == agent(member.pid)), None)

        try:
            yield sender
        finally:
            for proxy in self.proxies:
                proxy.hold = None
            hold.release()
            assert not hold.caught.is_set() or hold.answered.wait(timeout=30), "the late write was not answered"

    def _wait_overtaken(self, scene: Scene, sleeper: OperatorProcess, boundary: str, wake: Wake) -> None:
        """Wait until the other leads; and (in the middle) until it has passed the point at which the first one stands,
        or (at the end) until the run is over."""
        [other] = [member for member in self.replicas if member is not sleeper]
        eventually(other.leads, what="the other replica to lead", timeout=DEADLINE, poll=0.01)
        if wake is Wake.AT_ONCE:
            return

        def passed() -> bool:
            names = [item.name for item in self.bounds(other).reached(scene.namespace)]
            beyond = boundary.replace(BEFORE, AFTER)
            return _over(scene) or (wake is Wake.IN_THE_MIDDLE and beyond in names)

        eventually(passed, what="the other replica to overtake the first one", timeout=DEADLINE, poll=0.01)

    def _answers(self, sender: str) -> list[list[tuple[str, int]]]:
        """The writes of one process that have reached each of the API servers, with the status of the answer."""
        return [
            [(str(item.write), item.status) for item in list(proxy.answers) if item.agent == sender]
            for proxy in self.proxies
        ]

    def troubled(self, flavour: Flavour, scene: Scene, faults: Sequence[Faults], *, boundary: str = "") -> Played:
        """Play one run in `scene` while the proxies before the API servers make `faults`, one set for each proxy; with
        `boundary`, its leader is killed there besides."""
        expected = self.whole(flavour).ledger
        ledger, began = Ledger.open(scene, self._planes(flavour)), time.monotonic()
        if boundary:
            self._order(scene, boundary, End.KILL)
        for proxy, fault in zip(self.proxies, faults, strict=True):
            proxy.faults = fault
        try:
            flavour.begin(scene)
            hit = bool(boundary) and self._died(scene)
            self._wait_over(scene)
            seconds = time.monotonic() - began
        finally:
            for proxy in self.proxies:
                proxy.faults = NoFaults()
        return Played(ledger=self.settled(ledger, expected), seconds=seconds, hit=hit)

    def _order(self, scene: Scene, boundary: str, end: End) -> None:
        """Let whoever leads by then end at the boundary: on a busy machine a lease may be lost before."""
        for member in self.replicas:
            self.bounds(member).order(scene.namespace, boundary, end)

    def _obeyed(self) -> OperatorProcess | None:
        """The replica that has carried out its order."""
        return next((member for member in self.replicas if not self.bounds(member).pending), None)

    def _recall(self) -> None:
        for member in self.replicas:
            self.bounds(member).recall()

    def _died(self, scene: Scene) -> bool:
        """Wait until a leader has died of its order, and start it again as a kubelet would; False when the run is over
        and it lives."""
        what = "the end of the run, or of its leader"
        eventually(lambda: self._obeyed() or _over(scene), what=what, timeout=DEADLINE, poll=0.02)
        with suppress(AssertionError):  # the last boundaries come after the end
            eventually(self._obeyed, what="the boundary", timeout=AFTERWARDS)
        victim = self._obeyed()
        self._recall()
        if victim is None:
            return False
        victim.wait_ended(timeout=30)
        victim.start()
        return True

    def _wait_over(self, scene: Scene) -> None:
        """Wait until the run is over and its policy free; who loses the lease meanwhile is started again."""

        def over() -> bool:
            self._staff()
            return _over(scene)

        eventually(over, what="the run to end", timeout=DEADLINE, poll=0.02)

    def settled(self, ledger: Ledger, expected: Json) -> Json:
        """Wait until the ledger is the expected one; verification and conditions come a little later than the end."""
        found: Json = {}

        def equal() -> bool:
            nonlocal found
            found = ledger.read()
            rows = difference(expected, found)
            assert not rows, "; ".join(rows)
            return True

        eventually(equal, what="the state of the undisturbed run", timeout=20, poll=0.25)
        return found

    def _wait_rest(self, scene: Scene) -> None:
        """Wait until the policy stands still: its last write is older than anything that follows a run."""
        last, since = "", time.monotonic()

        def resting() -> bool:
            nonlocal last, since
            version = scene.policy()["metadata"]["resourceVersion"]
            if version != last:
                last, since = version, time.monotonic()
            return time.monotonic() - since > 1.5

        eventually(resting, what="the policy to rest", timeout=30)


def _over(scene: Scene) -> bool:
    runs = scene.runs()
    done = ("Succeeded", "Failed", "RolledBack", "Cancelled", "NotNeeded", "Superseded")
    ended = [run for run in runs if (run.get("status") or {}).get("phase") in done]
    return bool(runs) and len(ended) == len(runs) and not scene.status().get("operation")
