"""Plays runs of one flavour again and again, each in a scene of its own, and does something to the leader.

A scene takes seconds to make and a standby seconds to take over, so the next scene is made while a run is recovered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.controlplane import ControlPlane
from testbed.crash import PROGRAM, Boundaries, End
from testbed.operator import OperatorProcess, OperatorReplicas
from testbed.scene import Scene, eventually
from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import Flavour, furnish, make_scene, wait_settled
from tests.e2e.crash.ledger import Ledger, difference
from tests.e2e.members import kubelets

Json = dict[str, Any]
DEADLINE = 90.0
"""Seconds for a run to end, whatever happens to it. A machine that is busy is no reason to fail."""
LEAST_HISTORY = 45.0
"""Seconds for which the API server remembers every version, with room to spare."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A run that is over. `hit`: the boundary was reached; `seconds` from the reason of the run to its release."""

    ledger: Json
    seconds: float
    hit: bool
    boundaries: Sequence[str] = ()


@dataclass
class Theatre:
    """Context manager: two doomed replicas, member clusters where the flavour has them, and scenes in advance."""

    stage: Stage
    flavour: Flavour
    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    kubeconfig_for: Callable[[int], Path] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.planes: list[ControlPlane] = []
            if self.flavour.members:
                with ThreadPoolExecutor(2) as pool:
                    started = pool.map(lambda name: ControlPlane.start(name=name), ("west", "central"))
                    self.planes = [stack.enter_context(plane) for plane in started]
                stack.enter_context(kubelets(self.planes))
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
                    kubeconfig_for=self.kubeconfig_for,
                    timeout=90,
                )
            )
            self._bounds = dict(zip([member.name for member in self.replicas], bounds, strict=True))
            self._next: Future[ExitStack] | None = None
            self._scenes: dict[int, Scene] = {}
            stack.callback(self._discard_next)
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

    def prepare(self) -> None:
        """Begin to make a scene that a later play will use."""
        if self._next is None:
            self._next = self._workshop.submit(self._make)

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """A scene at rest, with two replicas that are ready."""
        self.prepare()
        assert self._next is not None
        made, self._next = self._next.result(), None
        try:
            scene = self._scenes[id(made)]
            wait_settled(scene, self.planes, self.replicas)
            yield scene
        finally:
            del self._scenes[id(made)]
            self._workshop.submit(made.close)

    def _make(self) -> ExitStack:
        with ExitStack() as stack:
            scene = stack.enter_context(make_scene(self.stage))
            for plane in self.planes:
                stack.callback(plane.delete_namespace, scene.namespace)
            furnish(self.stage, scene, self.flavour, self.planes)
            made = stack.pop_all()
            self._scenes[id(made)] = scene
            return made

    def _discard_next(self) -> None:
        if self._next is not None:
            self._next.result().close()

    # -- plays ----------------------------------------------------------------------------------------------------

    def undisturbed(self) -> Played:
        """Play one run without a fault: what all others have to equal, and the boundaries that there are."""
        with self.scene() as scene:
            leader = self.replicas.leader()
            ledger, began = Ledger.open(scene, self.planes), time.monotonic()
            self.flavour.begin(scene)
            scene.wait_run(timeout=DEADLINE)
            seconds = time.monotonic() - began
            self._wait_rest(scene)
            names = [item.name for item in self.bounds(leader).reached(scene.namespace)]
            return Played(ledger=ledger.read(), seconds=seconds, hit=False, boundaries=list(dict.fromkeys(names)))

    def killed_at(self, boundary: str, expected: Json) -> Played:
        """Play one run whose leader is killed at `boundary`; the killed one is started again, as a kubelet would.

        Raises:
            AssertionError: the run did not end, or its ledger is not the expected one.
        """
        with self.scene() as scene:
            leader = self.replicas.leader()
            ledger, began = Ledger.open(scene, self.planes), time.monotonic()
            self.bounds(leader).order(scene.namespace, boundary, End.KILL)
            self.flavour.begin(scene)
            self.prepare()

            def over_or_dead() -> bool:
                return not leader.running or _over(scene)

            eventually(over_or_dead, what="the run to end, or its leader", timeout=DEADLINE)
            hit = not leader.running
            if hit:
                leader.start()
                scene.wait_run(timeout=DEADLINE)
            seconds = time.monotonic() - began
            self.bounds(leader).recall()
            return Played(ledger=self.settled(ledger, expected), seconds=seconds, hit=hit)

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
