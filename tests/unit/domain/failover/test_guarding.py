"""When an agent stops its side and when it lets go; and both sides together under every order of events."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from regent.domain.failover.fence import Fence
from regent.domain.failover.guarding import Act, Leave, PolicyView, cut_off, decide, live, may_promote, own_fence
from regent.domain.failover.isolation import Presence, Sighting, find, guard, sight
from tests.unit.domain.failover.test_isolation import policy

BOOLS = (False, True)
NAMES = ("fenced", "cut", "asked", "held", "active", "current")
ASKED = (None, Fence(6, 9, 9), Fence(7, 1, 8), Fence(8, 1, 8))


@pytest.mark.parametrize(
    ("fenced", "cut", "asked", "held", "active", "current", "settled"),
    list(itertools.product(BOOLS, BOOLS, ASKED, BOOLS, BOOLS, BOOLS, BOOLS)),
)
def test_every_combination(  # noqa: PLR0917
    fenced: bool, cut: bool, asked: Fence | None, held: bool, active: bool, current: bool, settled: bool
) -> None:
    view = PolicyView(epoch=7, held=held, active=active, current=current)
    act = decide(fenced=fenced, cut=cut, asked=asked, view=view, settled=settled)
    wanted = asked is not None and (asked.epoch == 8 or (asked.epoch == 7 and held))
    assert live(asked, view) is wanted
    if cut or wanted:
        assert act is Act.FENCE
    elif not fenced:
        returned = current and not held and not active and not settled
        assert act is (Act.LET_GO if returned else Act.NOTHING)
    elif held or not current:
        assert act is Act.FENCE
    else:
        assert act is (Act.RESTORE if active else Act.LET_GO)


@pytest.mark.parametrize(
    ("since", "renewed", "expected"),
    [
        (0.0, 90.0, True),
        (0.0, 90.1, False),
        (97.6, None, False),
        (97.5, None, True),  # another process may have renewed last, who knows when
    ],
)
def test_cut_off(since: float, renewed: float | None, expected: bool) -> None:
    assert cut_off(now=100.0, since=since, renewed=renewed, duration=10.0) is expected


def test_its_own_fence_is_what_the_hub_has_used_and_never_more() -> None:
    assert own_fence(epoch=3, found=None, asked=None) == Fence(3, 0, 0)
    assert own_fence(epoch=3, found=Fence(3, 1, 12), asked=None) == Fence(3, 1, 12)
    assert own_fence(epoch=3, found=Fence(3, 1, 12), asked=Fence(4, 1, 8)) == Fence(4, 1, 8)
    assert own_fence(epoch=5, found=Fence(4, 9, 9), asked=None) == Fence(5, 0, 0)


@pytest.mark.parametrize("standby", BOOLS)
@pytest.mark.parametrize("told", [None, Fence(6, 9, 9), Fence(7, 1, 8), Fence(8, 1, 8)])
@pytest.mark.parametrize(("held", "active", "current"), list(itertools.product(BOOLS, BOOLS, BOOLS)))
def test_a_database_may_accept_writes_where_the_region_is_active_or_the_run_has_activated_it(
    standby: bool, told: Fence | None, held: bool, active: bool, current: bool
) -> None:
    view = PolicyView(epoch=7, held=held, active=active, current=current)
    answer = may_promote(view, standby=standby, told=told)
    activated = told is not None and told.epoch == 7
    behind = told is not None and told.epoch > 7
    yes = current and not standby and not behind and (activated if held else active)
    assert (answer.leave is Leave.YES) is yes, answer
    # "No" ends the promotion, so it is only said where no other answer comes by itself.
    assert (answer.leave is Leave.NO) is (current and (standby or (not behind and not held and not active))), answer


# ---- both sides together -------------------------------------------------------------------------------------------

DURATION, LIMIT, SKEW, STEP = 10.0, 4.0, 1.0, 0.5


@dataclass
class Model:
    """A hub that fails over, an agent that guards, and a link between them that comes and goes.

    The agent's clock runs 4 % slow, which is what the skew is for. An agent that crashes is replaced by one that begins
    within the time that two replicas need, and that one lives for a while; what it had asked for goes on meanwhile.
    Every few steps something happens, by the seed.
    """

    chance: random.Random
    now: float = 0.0
    linked: bool = True
    writes: bool = True
    """The region's side is active."""
    agent_since: float | None = 0.0
    replaced_at: float = 0.0
    renewed: float | None = None
    renewals: int = 0
    fencing_since: float | None = None
    noted: bool = False
    view: PolicyView = field(default=PolicyView(epoch=1, held=False, active=True, current=True))
    asked: Fence | None = None
    told: Fence | None = None
    requests: Fence | None = None
    epoch: int = 1
    held: bool = False
    active_here: bool = True
    sighting: Sighting | None = None
    proved: bool = False

    @property
    def slow(self) -> float:
        return self.now * 0.96

    def __post_init__(self) -> None:
        choose = self.chance.choice
        self.flaps, self.crashes = choose((0.02, 0.06, 0.15, 0.4)), choose((0.0, 0.05, 0.3))
        self.rollbacks, self.returns = choose((0.0, 0.02, 0.1)), choose((0.02, 0.2))

    def tick(self) -> None:
        self.now += STEP
        if self.chance.random() < self.flaps:
            self.linked = not self.linked
        if self.agent_since is not None and self.now - self.replaced_at > 30 and self.chance.random() < self.crashes:
            self.agent_since, self.renewed = None, None
            self.replaced_at = self.now + DURATION * 0.36
        elif self.agent_since is None and self.now >= self.replaced_at:
            self.agent_since = self.slow
            self.view = PolicyView(epoch=self.view.epoch, held=self.view.held, active=self.view.active, current=False)
        self.agent()
        self.hub()

    def agent(self) -> None:
        if self.agent_since is None:
            return
        if self.linked:
            self.renewed = self.slow
            self.renewals += 1
        cut = cut_off(now=self.slow, since=self.agent_since, renewed=self.renewed, duration=DURATION)
        if self.linked and not cut:
            self.view = PolicyView(epoch=self.epoch, held=self.held, active=self.active_here, current=True)
            self.asked = self.requests
        elif cut:
            self.view = PolicyView(epoch=self.view.epoch, held=self.view.held, active=self.view.active, current=False)
        act = decide(fenced=self.noted, cut=cut, asked=self.asked, view=self.view)
        if act is Act.FENCE:
            self.noted = True
            self.fencing_since = self.now if self.fencing_since is None else self.fencing_since
            # It takes a while, and never longer than was promised.
            if self.now - self.fencing_since >= LIMIT - STEP:
                self.writes = False
                if live(self.asked, self.view) and self.linked:
                    self.told = self.asked
        else:
            self.fencing_since = None
        if act in (Act.RESTORE, Act.LET_GO):
            self.noted, self.told = False, None
            self.writes = self.writes or act is Act.RESTORE

    def hub(self) -> None:
        if self.held:
            self.ask()
        elif self.active_here and self.chance.random() < 0.1:
            self.epoch += 1
            self.held, self.sighting = True, None
        elif not self.active_here and self.chance.random() < self.returns:
            # The hub reaches the region by its own way, and its agent or not: it makes it active again.
            self.epoch += 1
            self.active_here, self.writes, self.proved = True, True, False

    def ask(self) -> None:
        seen = Presence(
            holder="agent",
            renewal=(str(self.renewals),),
            duration=DURATION,
            demotion_limit=LIMIT,
            guards={"shop/shop": guard(policy())},
            isolated={} if self.told is None else {"shop/shop": self.told},
        )
        self.sighting = sight(self.sighting, seen, now=self.now)
        fence = Fence(self.epoch, 1, 8)
        found = find(seen, self.sighting, policy(), region="eu", fence=fence, now=self.now, skew=SKEW)
        if found.proved:
            assert not self.writes, f"promoted elsewhere at {self.now} while the region writes: {found.message}"
            self.proved, self.active_here, self.held = True, False, False
        elif found.possible:
            self.requests = fence
        if self.chance.random() < self.rollbacks and not self.proved:
            self.held = False  # the run is rolled back


@pytest.mark.parametrize("seed", range(100))
def test_the_hub_never_promotes_elsewhere_while_the_region_writes(seed: int) -> None:
    model = Model(random.Random(seed))
    for _ in range(500):
        model.tick()
        if model.proved:
            # Whatever happens to the link now: the old side stays stopped for as long as another region is active.
            assert not model.writes, f"seed {seed}: two regions write at {model.now}"
