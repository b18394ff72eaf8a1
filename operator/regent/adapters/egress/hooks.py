"""Hooks over HTTP: a CloudEvent is posted, any 2xx answer lets the run go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from regent.adapters.egress.client import Answer, origin
from regent.adapters.egress.egress import Egress
from regent.domain.errors import ReceiverError
from regent.domain.failover.model import Plan, PolicySpec
from regent.domain.failover.options import Hook
from regent.engine.cloud_events import BEFORE, CONTENT_TYPE, cloud_event, planned_data
from regent.engine.hooks import TOTAL, HookOutcome, HookResult, Question
from regent.engine.ports import Clock, Object
from regent.engine.receivers import SigningKeys, message_id

WORDS = 512
"""Characters of a receiver's answer that are kept."""


class HttpHooks:
    """Implements `regent.engine.hooks.Hooks`."""

    def __init__(self, *, egress: Egress, secrets: SigningKeys, clock: Clock) -> None:
        self._egress = egress
        self._secrets = secrets
        self._clock = clock

    async def before_failover(
        self, policy: PolicySpec, run: Object, plan: Plan, *, question: Question
    ) -> Sequence[HookResult]:
        """See the port."""
        results: list[HookResult] = []
        deadline = self._clock.monotonic() + TOTAL
        for hook in policy.options.hooks:
            left = deadline - self._clock.monotonic()
            result = await self._call(hook, policy, run, plan, question=question, timeout=min(hook.timeout, left))
            results.append(result)
            if result.outcome is HookOutcome.VETOED:
                break
        return results

    async def _call(
        self, hook: Hook, policy: PolicySpec, run: Object, plan: Plan, *, question: Question, timeout: float
    ) -> HookResult:
        bad = HookOutcome.VETOED if hook.veto else HookOutcome.FAILED
        if timeout <= 0:
            message = f"the hooks before it took the {TOTAL:.0f} s that all have together"
            return HookResult(name=hook.name, outcome=bad, message=message)
        data = planned_data(run, plan)
        digest, number = question
        identifier = message_id(policy.uid, run["metadata"]["uid"], "hook", hook.name, digest, str(number))
        event = cloud_event(
            BEFORE,
            policy,
            identifier=identifier,
            subject=run["metadata"]["name"],
            time=self._clock.wall(),
            data={"hook": hook.name, "onError": "Abort" if hook.veto else "Continue", **data},
        )
        try:
            async with asyncio.timeout(timeout):  # over reading the key as well
                answer = await self._egress.post(
                    hook.receiver.url,
                    event,
                    purpose="hook",
                    idempotency_key=identifier,
                    timeout=timeout,
                    keys=await self._secrets.keys(policy.namespace, hook.receiver),
                    headers={"content-type": CONTENT_TYPE},
                )
        except TimeoutError:
            message = f"TimedOut: {origin(hook.receiver.url)} did not answer within {timeout:.3g} s"
            return HookResult(name=hook.name, outcome=bad, message=message)
        except ReceiverError as error:
            return HookResult(name=hook.name, outcome=bad, message=f"{error.reason}: {error}"[:WORDS])
        words = said(answer)
        if answer.good:
            return HookResult(name=hook.name, outcome=HookOutcome.PASSED, message=words)
        message = f"{origin(hook.receiver.url)} answered {answer.status}{': ' + words if words else ''}"
        return HookResult(name=hook.name, outcome=bad, message=message[:WORDS])


def said(answer: Answer) -> str:
    """The receiver's words: `message` of a JSON object, else the text of the answer; bounded, without control
    characters."""
    try:
        found = json.loads(answer.body) if answer.complete else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        text = " ".join(str(found.get("message") or "").split())
        return "".join(character for character in text if character.isprintable())[:WORDS]
    return answer.words(WORDS)
