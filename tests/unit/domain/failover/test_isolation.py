"""What an agent's word and its silence prove, over every combination of what can be known."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from regent.domain.failover.fence import Fence
from regent.domain.failover.isolation import Finding, Presence, Sighting, Standing, find, guard, proof_steps, sight
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.failover.options import PromotionStep, RunOptions, StepKind

DURATION, LIMIT, SKEW = 10.0, 20.0, 2.0
WAIT = DURATION * 1.65 + LIMIT + SKEW
FENCE = Fence(7, 2, 8)
WEB = PromotionStep(name="web", kind=StepKind.SCALE, settings={"kind": "Deployment", "name": "web", "replicas": 2})
DB = PromotionStep(name="db", kind=StepKind.PATRONI, settings={"clusters": []})


def policy(*steps: PromotionStep, regions: tuple[str, ...] = ("eu", "us"), **options: object) -> PolicySpec:
    return PolicySpec(
        namespace="shop",
        name="shop",
        uid="u",
        regions=tuple(PolicyRegion(name=name) for name in regions),
        options=dataclasses.replace(RunOptions(promotion=steps or (WEB,)), **options),  # type: ignore[arg-type]
    )


def presence(**fields: object) -> Presence:
    given = {"holder": "agent", "renewal": ("agent", "t1"), "duration": DURATION, "demotion_limit": LIMIT}
    guards = {"shop/shop": guard(policy())}
    return Presence(**{**given, "guards": guards, **fields})  # type: ignore[arg-type]


def judge(seen: Presence | None, *, quiet: float = 0.0, fence: Fence = FENCE) -> Finding:
    sighting = None if seen is None else Sighting(seen.renewal, 100.0)
    return find(seen, sighting, policy(), region="eu", fence=fence, now=100.0 + quiet, skew=SKEW)


HOLDERS = ("agent", "")
QUIETS = (0.0, DURATION - 0.01, DURATION, WAIT - 0.01, WAIT + 0.01, 1e6)
GUARDS = ("as it is", "another", "none")
WORDS = (None, Fence(7, 2, 7), FENCE, Fence(8))
IMPAIRMENTS = ("", "its API server does not answer")


@pytest.mark.parametrize(
    ("holder", "quiet", "guarded", "word", "impaired"),
    list(itertools.product(HOLDERS, QUIETS, GUARDS, WORDS, IMPAIRMENTS)),
)
def test_every_combination(holder: str, quiet: float, guarded: str, word: Fence | None, impaired: str) -> None:
    guards = {"as it is": {"shop/shop": guard(policy())}, "another": {"shop/shop": "old"}, "none": {}}[guarded]
    isolated = {} if word is None else {"shop/shop": word}
    found = judge(presence(holder=holder, guards=guards, isolated=isolated, impaired=impaired), quiet=quiet)

    knows = guarded == "as it is"
    said_so = knows and word is not None and word >= FENCE
    silent_enough = quiet >= WAIT
    assert found.proved is (said_so or (holder != "" and knows and not impaired and silent_enough))
    waits = holder != "" and (quiet < DURATION or (knows and not impaired))
    assert found.possible is (found.proved or waits)
    asked = not said_so and holder != "" and quiet < DURATION
    assert (found.standing is Standing.ASKED) is asked
    assert 0 < found.retry_after <= 1.0
    assert "eu" in found.message


def test_without_an_agent_nothing_is_proved_or_waited_for() -> None:
    found = judge(None)
    assert (found.standing, found.proved, found.possible) == (Standing.NO_AGENT, False, False)
    assert "regent agent --fence" in found.message


def test_the_text_does_not_change_while_it_waits() -> None:
    texts = {judge(presence(), quiet=quiet).message for quiet in (11.0, 12.0, 20.0, 31.9)}
    assert len(texts) == 1


def test_a_new_renewal_starts_over_and_the_same_one_does_not() -> None:
    first = sight(None, presence(), now=100.0)
    assert sight(first, presence(), now=150.0) == first
    assert sight(first, presence(renewal=("agent", "t2")), now=150.0).since == 150.0
    assert sight(first, presence(renewal=("other", "t1")), now=150.0).since == 150.0


def test_a_guard_is_about_all_that_is_demoted_and_nothing_else() -> None:
    same = guard(policy())
    assert guard(policy(regions=("us", "eu"))) == same
    assert guard(policy(dataclasses.replace(WEB, timeout=99.0))) == same
    assert guard(policy(max_attempts=1)) == same
    assert guard(policy(dataclasses.replace(WEB, settings={**WEB.settings, "name": "api"}))) != same
    assert guard(policy(WEB, DB)) != same
    assert guard(policy(regions=("eu", "us", "ap"))) != same
    assert guard(policy(service_account="other")) != same
    assert guard(dataclasses.replace(policy(), uid="made again")) != same


def test_where_there_is_data_the_data_is_what_has_to_be_proved() -> None:
    assert proof_steps(policy(WEB, DB)) == (DB,)
    assert proof_steps(policy(WEB)) == (WEB,)
