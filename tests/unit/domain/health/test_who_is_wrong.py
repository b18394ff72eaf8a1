"""Panic and suspicion: when the observer is the likelier culprit."""

from __future__ import annotations

import itertools

import pytest

from regent.domain.health.model import RegionHealth
from regent.domain.health.panic import panicking
from regent.domain.health.suspicion import CEILING_OF_ONE, TOP, ObserverHealth, Sign, Signals, assess


def up(name: str) -> RegionHealth:
    return RegionHealth(region=name)


def down(name: str, since: float, votes: int = 1) -> RegionHealth:
    return RegionHealth(region=name, down=True, down_since=since, down_votes=votes)


class TestPanic:
    def test_more_than_the_share_within_the_window(self) -> None:
        found = panicking([down("a", 1), down("b", 5), down("c", 11), up("d")], percent=50)
        assert found is not None
        assert found.regions == ("a", "b", "c") and found.enabled == 4
        assert "3 of 4" in found.message

    def test_exactly_the_share_is_no_panic(self) -> None:
        assert panicking([down("a", 1), down("b", 2), up("c"), up("d")], percent=50) is None

    def test_never_below_four_regions(self) -> None:
        assert panicking([down("a", 1), down("b", 1), down("c", 1)], percent=0) is None

    def test_regions_that_were_down_before_do_not_count(self) -> None:
        regions = [down("a", 1), down("b", 50), down("c", 100), up("d")]
        assert panicking(regions, percent=50) is None, "three failures in a row, each a minute apart, are real"

    def test_the_window_slides(self) -> None:
        regions = [down("a", 0), down("b", 8), down("c", 16), down("d", 17), up("e")]
        assert panicking(regions, percent=50) is not None, "b, c and d fell within nine seconds"
        assert panicking(regions, percent=60) is None

    def test_the_border_of_the_window_belongs_to_it(self) -> None:
        assert panicking([down("a", 0), down("b", 5), down("c", 10), up("d")], percent=50) is not None
        assert panicking([down("a", 0), down("b", 5), down("c", 10.1), up("d")], percent=50) is None

    def test_a_second_vantage_confirms(self) -> None:
        regions = [down("a", 1, votes=2), down("b", 1, votes=2), down("c", 1), up("d")]
        assert panicking(regions, percent=50) is None

    def test_it_ends_when_regions_come_back(self) -> None:
        regions = [down("a", 1), down("b", 1), down("c", 1), up("d")]
        assert panicking(regions, percent=50) is not None
        assert panicking([up("c") if item.region == "c" else item for item in regions], percent=50) is None

    def test_a_hundred_percent_turns_it_off(self) -> None:
        assert panicking([down(str(number), 1) for number in range(8)], percent=100) is None


LAG, API, ROUTE = {"loop_lag": 0.2}, {"api_silence": 5.0}, {"route_lost": True}
MANY = {"targets": 4, "failing": 3}


def after(seconds: int, observer: ObserverHealth = ObserverHealth(), **fields: object) -> ObserverHealth:  # noqa: B008
    for _ in range(seconds):
        observer = assess(observer, Signals(**fields))  # type: ignore[arg-type]
    return observer


class TestSuspicion:
    @pytest.mark.parametrize(
        ("signals", "signs"),
        [
            (Signals(), ()),
            (Signals(loop_lag=0.1), ()),
            (Signals(loop_lag=0.101), (Sign.LOOP_LAG,)),
            (Signals(api_silence=None), ()),
            (Signals(api_silence=3.0), ()),
            (Signals(api_silence=3.1), (Sign.API_SERVER,)),
            (Signals(route_lost=True), (Sign.DEFAULT_ROUTE,)),
        ],
    )
    def test_signs(self, signals: Signals, signs: tuple[Sign, ...]) -> None:
        assert signals.signs() == signs

    def test_failing_targets_alone_never_raise_the_score(self) -> None:
        observer = after(100, targets=1000, failing=1000)
        assert observer == ObserverHealth()

    @pytest.mark.parametrize("sign", [LAG, API, ROUTE])
    def test_one_sign_alone_stretches_timeouts_but_is_no_suspicion(self, sign: dict[str, object]) -> None:
        observer = after(100, **sign)
        assert observer.score == CEILING_OF_ONE and not observer.suspect
        assert observer.timeout_factor == CEILING_OF_ONE + 1

    @pytest.mark.parametrize("sign", [LAG, API, ROUTE])
    def test_one_sign_while_most_targets_fail_is_suspicion_at_once(self, sign: dict[str, object]) -> None:
        observer = after(1, **sign, **MANY)
        assert observer.suspect and observer.timeout_factor == TOP + 1 == 8

    @pytest.mark.parametrize(("targets", "failing", "many"), [(1, 1, False), (2, 1, False), (2, 2, True), (4, 2, False),
                                                              (4, 3, True), (0, 0, False)])  # fmt: skip
    def test_many_is_more_than_half_and_at_least_two(self, targets: int, failing: int, many: bool) -> None:
        assert Signals(targets=targets, failing=failing).many_failing is many

    def test_two_signs_reach_the_top_in_four_seconds(self) -> None:
        assert not after(3, **LAG, **API).suspect
        assert after(4, **LAG, **API).suspect

    def test_trust_comes_back_slowly_and_does_not_flicker(self) -> None:
        observer = after(1, **ROUTE, **MANY)
        for second in range(1, 6):
            observer = assess(observer, Signals())
            assert observer.suspect, f"after {second} good seconds"
        observer = assess(observer, Signals())
        assert not observer.suspect
        assert assess(observer, Signals()) == ObserverHealth()

    def test_the_score_stays_in_its_bounds(self) -> None:
        observer = ObserverHealth()
        for lag, api, route, failing in itertools.product((0.0, 0.3), (None, 9.0), (False, True), (0, 4)):
            for _ in range(20):
                observer = assess(
                    observer,
                    Signals(loop_lag=lag, api_silence=api, route_lost=route, targets=4, failing=failing),
                )
                assert 0 <= observer.score <= TOP
                assert observer.message

    def test_the_message_names_the_signs(self) -> None:
        message = after(1, **LAG, **ROUTE, **MANY).message
        assert "event loop" in message and "default route" in message and "most targets fail" in message
