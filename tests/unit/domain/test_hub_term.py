"""Which hub may act: every role that can be written down, and every claim that a region can make."""

from __future__ import annotations

from itertools import product

import pytest

from regent.domain.hub_term import Claim, HubRecord, HubRole, acting_role, next_term, superseded_by

A, B = "hub-a", "hub-b"


@pytest.mark.parametrize(
    ("role", "follows", "wanted"),
    [
        (None, False, HubRole.ACTIVE),
        (None, True, HubRole.STANDBY),
        (HubRole.ACTIVE, False, HubRole.ACTIVE),
        (HubRole.ACTIVE, True, HubRole.ACTIVE),  # promoted; the settings are of yesterday
        (HubRole.STANDBY, True, HubRole.STANDBY),
        (HubRole.STANDBY, False, HubRole.STANDBY),  # the settings were lost
        (HubRole.PROMOTING, True, HubRole.PROMOTING),
        (HubRole.PROMOTING, False, HubRole.PROMOTING),
        (HubRole.SUPERSEDED, False, HubRole.SUPERSEDED),
        (HubRole.SUPERSEDED, True, HubRole.STANDBY),  # it came back, to follow its successor
    ],
)
def test_what_was_written_down_goes_before_the_settings(role: HubRole | None, follows: bool, wanted: HubRole) -> None:
    assert acting_role(HubRecord(role=role), follows=follows) is wanted


def test_a_hub_is_superseded_by_the_greatest_term_of_another_one_only() -> None:
    assert superseded_by([], hub=A, term=0) is None
    assert superseded_by([Claim("eu", "", 0), Claim("us", "", 0)], hub=A, term=0) is None
    claim = Claim("us", B, 1)
    assert superseded_by([Claim("eu", "", 0), claim], hub=A, term=0) == claim
    # A third takeover by A did not reach eu.
    assert superseded_by([Claim("eu", B, 1), Claim("us", A, 2)], hub=A, term=2) is None
    assert superseded_by([Claim("eu", B, 1), Claim("us", A, 2)], hub=A, term=0) is None, "its record was lost"
    assert superseded_by([Claim("eu", B, 1)], hub=A, term=2) is None, "us does not answer"
    assert superseded_by([Claim("eu", B, 1), Claim("us", A, 2)], hub=B, term=1) == Claim("us", A, 2)


def test_of_two_that_took_over_at_once_without_each_others_regions_one_goes_on() -> None:
    claims = [Claim("eu", A, 1), Claim("us", B, 1)]
    assert superseded_by(claims, hub=A, term=1) == Claim("us", B, 1)
    assert superseded_by(claims, hub=B, term=1) is None
    assert superseded_by([Claim("eu", B, 0)], hub=A, term=0) is None, "no takeover"


def test_two_hubs_never_act_on_what_the_same_region_says() -> None:
    """Whatever the claims, of all hubs that took over only the last one acts."""
    for terms in product(range(4), repeat=3):
        claims = [Claim(str(index), B if term == 1 else A, term) for index, term in enumerate(terms)]
        last = max(terms)
        acting = [
            hub
            for hub, own in ((A, 0 if last == 1 else last), (B, min(last, 1)))
            if superseded_by(claims, hub=hub, term=own) is None
        ]
        assert len(acting) == 1 or last == 0, (terms, acting)


def test_a_takeover_has_a_term_that_nobody_had_and_keeps_it_when_it_is_repeated() -> None:
    assert next_term([], hub=A, term=0) == 1
    assert next_term([Claim("eu", B, 1)], hub=A, term=0) == 2
    assert next_term([Claim("eu", B, 1), Claim("us", A, 2)], hub=A, term=0) == 2, "cut short"
    assert next_term([Claim("eu", B, 2), Claim("us", A, 2)], hub=A, term=2) == 3, "two at once"
    assert next_term([Claim("eu", B, 1)], hub=A, term=0, least=5) == 5
