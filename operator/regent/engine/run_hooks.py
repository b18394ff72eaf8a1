"""Where a run stands with its hooks: asked, passed, vetoed; as its journal tells it.

A passed plan is not asked about again while it is being committed; a veto is asked about again after a while, as
another message, until the receiver lets the run go, the run is no longer needed, or a person ends it. Another plan is
another question. All of it comes before Commit, when a run holds nothing: whatever a hook does, it stands only in the
way of its own run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.failover.model import Plan, PolicySpec
from regent.domain.times import rfc3339_micro
from regent.engine.draft import Draft
from regent.engine.hooks import TOTAL, HookCalls, HookOutcome, HookResult
from regent.engine.ports import Recorder
from regent.engine.records import time_of

ASK_AGAIN = 10.0
"""Seconds after a veto until the hooks are asked again."""

PASSED_FOR = 60.0
"""Seconds for which a plan that has passed may be committed without asking again: a run that another rule has held in
the meantime asks about the world of today."""

VETOED = "VetoedByHook"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookWait:
    """The run waits for its hooks. `veto`: which hook stands in the way, and what lifts that."""

    retry_after: float
    veto: str = ""


class HookGate:
    """Asks the hooks of a run and journals what they said. Without `calls` a run with hooks waits for ever: a process
    that cannot ask must not act as if it had."""

    def __init__(self, calls: HookCalls | None, *, recorder: Recorder) -> None:
        self._calls = calls
        self._recorder = recorder

    def waits(self, draft: Draft, policy: PolicySpec, digest: str) -> HookWait | None:
        """Say whether there is nothing to do for a run but to wait; nothing is written then.

        Args:
            draft: the run.
            policy: whose hooks.
            digest: hash of the plan that would be committed now.
        """
        if not policy.options.hooks:
            return None
        if self._calls is None:
            return HookWait(retry_after=TOTAL, veto="this process cannot call the hooks of the policy")
        noted = _noted(draft, digest)
        if self._calls.asking(draft.run, (digest, _number(noted) + 1)):
            return HookWait(retry_after=TOTAL)
        veto = next((item for item in noted if item["result"] == HookOutcome.VETOED.value), None)
        if veto is None:
            return None
        left = ASK_AGAIN - _age(draft, noted)
        return HookWait(retry_after=left, veto=_veto_text(veto)) if 0 < left <= ASK_AGAIN else None

    def ask(self, draft: Draft, policy: PolicySpec, plan: Plan, digest: str) -> HookWait | None:
        """Note in `draft` how the run stands with its hooks; None: go."""
        if not policy.options.hooks or self._calls is None:
            return None
        noted = _noted(draft, digest)
        passed = noted and all(item["result"] != HookOutcome.VETOED.value for item in noted)
        if passed and 0 <= _age(draft, noted) <= PASSED_FOR:
            return None
        number = _number(noted) + 1
        run = {**draft.run, "status": dict(draft.journal.status)}
        results = self._calls.ask(policy, run, plan, (digest, number))
        if results is None:
            names = ", ".join(hook.name for hook in policy.options.hooks)
            draft.step("Commit", "Running", f"waits for the hooks: {names}")
            return HookWait(retry_after=TOTAL)
        self._note(draft, results, digest, number)
        veto = next((item for item in _noted(draft, digest) if item["result"] == HookOutcome.VETOED.value), None)
        if veto is None:
            said = "; ".join(f"{result.name}: {result.message}" for result in results if result.message)
            draft.step("Commit", "Running", f"the hooks let it go{': ' + said if said else ''}")
            return None
        text = _veto_text(veto)
        draft.step("Commit", "Running", text)
        journal = draft.edit().put(phase="Blocked")
        journal.condition("Ready", "Unknown", VETOED, text)
        self._recorder.event(draft.run, kind="Warning", reason=VETOED, action="AskHooks", note=text)
        return HookWait(retry_after=ASK_AGAIN, veto=text)

    def _note(self, draft: Draft, results: Sequence[HookResult], digest: str, number: int) -> None:
        now = rfc3339_micro(draft.wall)
        rows: list[dict[str, Any]] = []
        for result in results:
            row = {"name": result.name, "result": result.outcome.value, "plan": digest, "number": number, "time": now}
            rows.append({**row, "message": result.message[:1024]} if result.message else row)
        draft.edit().put(hooks=rows)


def _noted(draft: Draft, digest: str) -> list[Mapping[str, Any]]:
    """What the journal says about this plan."""
    return [item for item in draft.journal.status.get("hooks") or () if item.get("plan") == digest]


def _number(noted: Sequence[Mapping[str, Any]]) -> int:
    return max((int(item.get("number") or 0) for item in noted), default=0)


def _age(draft: Draft, noted: Sequence[Mapping[str, Any]]) -> float:
    return draft.wall - max((time_of(item.get("time")) or 0.0 for item in noted), default=0.0)


def _veto_text(row: Mapping[str, Any]) -> str:
    words = str(row.get("message") or "it gave no reason")
    return (
        f"hook {row['name']} vetoes the run: {words}. It is asked again every {ASK_AGAIN:.0f} s; remove the hook from "
        "the policy, or give it onError: Continue, to go on without it"
    )
