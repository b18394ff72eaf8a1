"""Faults planted into the operator, each of which the simulator has to find.

Each is an edit of the source that takes one guard away, and names the kind of policy whose scenarios put that guard to
the test. `first` is a seed that found it when it was last searched for, where the search begins.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tests.simulation.invariants import ViolationError
from tests.simulation.planting import planted
from tests.simulation.scenario import play
from tests.simulation.virtual import StandstillError

RUNS = "regent.engine.runs:RunExecutor"
PROGRESS = "regent.engine.run_progress:RunProgress"
UNDO = "regent.engine.run_undo:RunUndo"
ROLES = "regent.engine.steps.roles"
LEASE = "regent.adapters.kubernetes.lease:LeaseElector"
NO_LEASE = (
    (f"{LEASE}.leading", "return self._held and self._clock.monotonic() < self._valid_until", "return self._held"),
    (f"{LEASE}.run", "if self._held and started >= self._valid_until:", "if False:"),
)
"""Leaders that go on until they read that another one has the lease."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A planted fault: `old` becomes `new` in the function at `place`."""

    name: str
    place: str
    old: str
    new: str
    only: str
    """The kind of policy that is played; "": all."""
    without_lease: bool = False
    """Planted together with an operator that does not look at its lease: the guard is the one behind that."""
    sign: str = ""
    """What the violation has to say, where others could come of `without_lease` alone."""
    first: int = 0
    seeds: int = 300
    """How many scenarios it may take to find it."""
    quick: bool = False
    """Found within seconds: also hunted by `make test`."""


@dataclass(frozen=True)
class Found:
    """What gave a mutant away, and how many scenarios it took."""

    seed: int
    violation: str
    played: int


def hunt(mutant: Mutant) -> Found | None:
    """Play scenarios with the fault planted until an invariant breaks; None: it has survived."""
    with ExitStack() as edits:
        if mutant.place:
            edits.enter_context(planted(mutant.place, mutant.old, mutant.new))
        for place, old, new in NO_LEASE if mutant.without_lease else ():
            edits.enter_context(planted(place, old, new))
        for played, seed in enumerate(range(mutant.first, mutant.first + mutant.seeds), start=1):
            try:
                play(seed, only=mutant.only, lease=not mutant.without_lease)
            except (ViolationError, StandstillError) as violation:
                told = str(violation).partition("\n")[0]
                if mutant.sign in told:
                    return Found(seed, told, played)
    return None


MUTANTS = (
    Mutant(
        name="a commit that keeps the epoch",
        place="regent.engine.policy_writes:commit_status",
        old='status["epoch"] = state.epoch + 1',
        new='status["epoch"] = state.epoch',
        only="stateless",
        quick=True,
    ),
    Mutant(
        name="an undo in the epoch of what it undoes",
        place=f"{UNDO}._raise_epoch",
        old="work.context = await self._policies.turned_back(work)",
        new="pass",
        only="database",
    ),
    Mutant(
        name="a route whose fence is not compared",
        place="regent.adapters.traffic.object_target:ObjectTarget.apply",
        old="if state.fence is not None and state.fence > fence:",
        new="if False:",
        only="leaders",
        without_lease=True,
        sign="the route's fence went",
        first=2,
        quick=True,
    ),
    Mutant(
        name="writes without a look at the lease",
        place="regent.adapters.kubernetes.lease:LeaseElector.check",
        old="if not self.leading:",
        new="if False:",
        only="stateless",
        first=1,
        quick=True,
    ),
    Mutant(
        name="a lease that is held until another one takes it",
        place="regent.adapters.kubernetes.lease:LeaseElector.leading",
        old="return self._held and self._clock.monotonic() < self._valid_until",
        new="return self._held",
        only="leaders",
    ),
    Mutant(
        name="an overtaken journal that is written all the same",
        place="regent.engine.draft:Draft.flush",
        old="moved = dict(status_of(obj)) != base",
        new="moved = False",
        only="stateless",
    ),
    Mutant(
        name="an effect before the journal names it",
        place=f"{PROGRESS}._one",
        old="        await work.draft.flush()\n        self._leadership.check()",
        new="        self._leadership.check()",
        only="database",
        quick=True,
    ),
    Mutant(
        name="a policy that is released before its run has ended",
        place=f"{RUNS}._arrived",
        old="    await work.draft.flush()\n    run = work.draft.run",
        new="    await self._policies.release(work.context.spec, work.draft.run, work.after)\n"
        "    await work.draft.flush()\n    run = work.draft.run",
        only="leaders",
    ),
    Mutant(
        name="a cooldown that holds nothing back",
        place="regent.domain.failover.gates:_cooldown",
        old="if case.trigger.urgency is Urgency.HIGH or not case.cooldown.active(snapshot.wall_time):",
        new="if True:",
        only="shared",
        first=1,
        quick=True,
    ),
    Mutant(
        name="a return to a region that was left a moment ago",
        place="regent.domain.failover.candidates:_refusals",
        old="if entry.name in demands.not_again:",
        new="if False:",
        only="stateless",
        first=1,
        quick=True,
    ),
    Mutant(
        name="clients before the new side is seen to serve",
        place="regent.engine.steps.traffic:Verify.look",
        old="if not work.gaining or work.spec.force:",
        new="if True:",
        only="database",
    ),
    Mutant(
        name="a promotion before the old side is stopped",
        place="regent.domain.failover.course:_order",
        old="return (ISOLATE, FINAL_SYNC, *promote, VERIFY, *shift, *closing)",
        new="return (*promote, ISOLATE, FINAL_SYNC, VERIFY, *shift, *closing)",
        only="database",
        quick=True,
    ),
    Mutant(
        name="a side that does not answer and counts as stopped",
        place=f"{ROLES}:_Seen.passive",
        old="return self.state.role in PASSIVE",
        new="return self.state.role in (*PASSIVE, Role.UNKNOWN)",
        only="database",
        first=8,
        quick=True,
    ),
    Mutant(
        name="a demotion on its way that counts as done",
        place=f"{ROLES}:_Seen.passive",
        old="return self.state.role in PASSIVE",
        new="return self.state.role in (*PASSIVE, Role.CHANGING)",
        only="database",
    ),
    Mutant(
        name="no wait for an agent that is silent",
        place="regent.domain.failover.isolation:find",
        old="wait = presence.patience + skew",
        new="wait = 0.0",
        only="agents",
        first=2,
        quick=True,
    ),
    Mutant(
        name="an agent that lets go before it has heard from the hub again",
        place="regent.domain.failover.guarding:decide",
        old="if not view.current or view.held:",
        new="if False:",
        only="agents",
        first=4,
        quick=True,
    ),
    Mutant(
        name="a planned move that does not wait for the last writes",
        place=f"{ROLES}:FinalSync.look",
        old="return Waiting(message=message, retry_after=LOOK_AGAIN)",
        new="return Done(message=message)",
        only="database",
        first=16,
        quick=True,
    ),
    Mutant(
        name="a commit that does not compare the epoch",
        place="regent.engine.policy_writer:PolicyWriter.commit",
        old="if not ours and (state.epoch != expected.epoch or state.operation is not None):",
        new="if False:",
        only="heirs",
        quick=True,
    ),
    Mutant(
        name="a run that is given up by what the cache says",
        place=f"{RUNS}.advance",
        old="context = await self._policies.fresh(context)",
        new="pass",
        only="heirs",
        quick=True,
    ),
    Mutant(
        name="a next candidate in the epoch of the last one",
        place="regent.engine.policy_writes:next_attempt_status",
        old='status["epoch"] = policy_state(policy).epoch + 1',
        new="pass",
        only="cascade",
        first=1,
        quick=True,
    ),
    Mutant(
        name="a next candidate without proof about the last one",
        place=f"{UNDO}._demoted",
        old="return Later(ASK_AGAIN * 4, action=what)",
        new="return None",
        only="cascade",
        first=1,
        quick=True,
        sign="became active in",
    ),
    Mutant(
        name="an agent's word of an earlier run",
        place="regent.domain.failover.isolation:find",
        old="if guarded and isolated is not None and isolated >= fence:",
        new="if guarded and isolated is not None:",
        only="returns",
        sign="became active in",
        quick=True,
    ),
)
