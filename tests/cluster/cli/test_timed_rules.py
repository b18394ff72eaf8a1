"""Rules that time lifts: windows that open and close, a budget that is renewed. Real API server, real operator.

The shortest of each lasts a minute, so the tests share one of them and take their turns in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from regent.domain.times import parse_rfc3339, rfc3339
from testbed.scene import eventually
from tests.cluster.cli.conftest import Desk, Stage, delete, in_namespace
from tests.cluster.cli.rules import WAIT, Doors, condition, end_of, ended, held, lifted, put_policy

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(400)]


@dataclass
class Slow:
    """Policies whose rules take a minute to turn: they are made at once and looked at in their order."""

    opening: Desk
    """Drained while the window is closed that it waits for."""
    closing: Desk
    """Moved while its window is open."""
    spending: Desk
    """Has spent its budget of one run a minute, and is to go back home."""
    doors: dict[str, Doors]
    opens: datetime
    closes: datetime


@pytest.fixture(scope="module")
def slow(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    desks: dict[str, Desk] = {}
    doors: dict[str, Doors] = {}
    with ExitStack() as stack:
        for word in ("opening", "closing", "spending"):
            namespace = stage.cluster.create_namespace(f"{word}-{secrets.token_hex(3)}")
            stack.callback(stage.cluster.delete_namespace, namespace)
            kubeconfig = in_namespace(stage.cluster.kubeconfig, namespace, tmp_path_factory.mktemp(word) / "kubeconfig")
            desks[word] = Desk(stage, namespace, kubeconfig)
            doors[word] = Doors(desks[word], "one", "two")
            stack.callback(doors[word].close)
            stack.callback(delete, stage, desks[word].path("failoverpolicies", "shop"))
        for item in doors.values():
            item.wait_healthy()
        # A window lasts a minute at least. What is left of one has to do for a switchover on a busy machine.
        now = datetime.now(UTC)
        this = now.replace(second=0, microsecond=0)
        opens = (now + timedelta(seconds=30)).replace(second=0, microsecond=0) + timedelta(minutes=1)
        lasts = timedelta(minutes=1 if now.second < 20 else 2)
        for word, start, duration in (("opening", opens, timedelta(minutes=2)), ("closing", this, lasts)):
            window = {
                "start": f"{start.minute} {start.hour} * * *",
                "duration": _text(duration),
                "allow": ["Switchover"],
            }
            put_policy(desks[word], doors[word].names, safety={"windows": [window], "cooldown": "0s"})
            assert desks[word].run("region", "drain", doors[word].names[0]).returncode == 0
        back = {"mode": "Automatic", "stabilization": "1s"}
        safety = {"budget": {"failovers": 1, "per": "1m"}, "cooldown": "0s"}
        put_policy(desks["spending"], doors["spending"].names, safety=safety, failback=back)
        doors["spending"].shut(doors["spending"].names[0])
        yield Slow(**desks, doors=doors, opens=opens, closes=this + lasts)


def _text(length: timedelta) -> str:
    return f"{int(length.total_seconds())}s"


def test_what_the_slow_rules_hold_is_told(slow: Slow) -> None:
    """Fails when a window or a spent budget lets a run through too early, or does not say when it will."""
    opening, closing, spending = slow.opening, slow.closing, slow.spending
    if datetime.now(UTC) < slow.opens - timedelta(seconds=10):
        rule = "runs of type Switchover wait for a window of safety.windows"
        held(opening, "OutsideWindow", rule, f"the next one opens at {rfc3339(slow.opens.timestamp())}")
        assert opening.runs() == []
    one, two = slow.doors["closing"].names
    eventually(lambda: closing.active() == two, what="the move while the window is open", timeout=WAIT)
    one, two = slow.doors["spending"].names
    run = ended(spending, 1)
    assert (spending.active(), run["status"]["trigger"]) == (two, "Unreachable")
    slow.doors["spending"].open(one)
    renewed = rfc3339(end_of(run) + 60)
    figure = "1 automatic runs within 1m, and safety.budget.failovers is 1."
    said = f"BudgetSpent: {one} has been healthy for 1s; {figure} The budget allows the next one at {renewed}"
    eventually(lambda: said in condition(spending, "FailbackPending").get("message", ""), what=said, timeout=WAIT)
    assert condition(spending, "BudgetSpent")["status"] == "True"
    assert spending.metric("regent_policy_budget_spent") == 1
    told = " ".join(spending.run("status", "shop").stdout.split())
    assert f"{figure} The budget allows the next one at {renewed}" in told, told


def test_a_spent_budget_is_renewed_and_the_run_is_made(slow: Slow) -> None:
    desk, (one, _) = slow.spending, slow.doors["spending"].names
    eventually(lambda: desk.active() == one, what="the failback", timeout=90)
    last = ended(desk, 2)
    first = next(run for run in desk.runs() if run["metadata"]["name"] != last["metadata"]["name"])
    assert last["spec"]["type"] == "Failback"
    assert parse_rfc3339(last["status"]["startTime"]) >= end_of(first) + 60, "before the budget was renewed"


def test_a_window_opens(slow: Slow) -> None:
    desk, (_, two) = slow.opening, slow.doors["opening"].names
    eventually(lambda: desk.active() == two, what="the move once the window is open", timeout=120)
    started = parse_rfc3339(ended(desk, 1)["status"]["startTime"])
    assert started >= slow.opens.timestamp(), "before the window was open"
    lifted(desk, "OutsideWindow")


def test_a_window_closes(slow: Slow) -> None:
    desk, (one, two) = slow.closing, slow.doors["closing"].names
    eventually(lambda: datetime.now(UTC) > slow.closes, what="the end of the window", timeout=150)
    assert desk.run("region", "enable", one).returncode == 0
    assert desk.run("region", "drain", two).returncode == 0
    hold = held(desk, "OutsideWindow", "runs of type Switchover wait for a window of safety.windows")
    opens = parse_rfc3339(hold["message"].partition("opens at ")[2].partition(". ")[0])
    assert opens > slow.closes.timestamp() + 80_000, "tomorrow"
    assert desk.active() == two
