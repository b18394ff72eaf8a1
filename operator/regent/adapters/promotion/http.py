"""Promotion steps of type HTTP: an endpoint of the user's that promotes and demotes whatever it knows.

One URL answers for all regions; docs/reference/receivers.md is the protocol. Requests are idempotent by `webhook-id`:
a promotion that is repeated after a lost answer or by the next leader has the same one, while a new attempt of the run
(which has a new epoch) has another. An observation has a new one each time, because a receiver that remembers what it
answered must not repeat an old role.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from regent.adapters.egress.client import Answer, origin
from regent.adapters.egress.egress import TRY_AGAIN, Egress, retry_after
from regent.adapters.egress.messages import (
    MAX_SNAPSHOT,
    Action,
    Message,
    PromotionRequest,
    Refusal,
    RoleAnswer,
    SyncAnswer,
)
from regent.domain.errors import FencedOffError, PromotionProblemError, ReceiverError, UnavailableError
from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import HttpReceiver, PromotionStep, StepKind
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.engine.promotion import PromotionDriver
from regent.engine.receivers import SigningKeys, message_id

CALL = 5.0
"""Seconds for one call with all its tries, and never more than the step's own timeout. The run machine calls again."""

TRIES = 3
NOT_IMPLEMENTED = 501

Constructor = Callable[[PolicySpec, PromotionStep], PromotionDriver]
"""Makes the driver of one step of a policy."""

_M = TypeVar("_M", bound=Message)


class HttpStep:
    """The `PromotionDriver` of one HTTP step.

    Args:
        step: the step; `settings` is the API's `http`.
        policy: whose step it is.
        egress: sends the requests.
        secrets: keys that sign them.
        nonce: text that is new each time.
    """

    def __init__(
        self,
        step: PromotionStep,
        policy: PolicySpec,
        *,
        egress: Egress,
        secrets: SigningKeys,
        nonce: Callable[[], str],
    ) -> None:
        self._step = step
        self._policy = policy
        self._egress = egress
        self._secrets = secrets
        self._nonce = nonce
        secret = (step.settings.get("secretRef") or {}).get("name", "")
        self._receiver = HttpReceiver(url=str(step.settings["url"]), secret=secret)
        self._where = f"{origin(self._receiver.url)} (step {step.name})"

    @property
    def step(self) -> PromotionStep:
        """See the port."""
        return self._step

    async def observe(self, region: str) -> RoleState:
        """See the port. An answer that is no role is UNKNOWN: nothing may be concluded from it."""
        try:
            answer = await self._call("observe", region, key=self._nonce())
            found = _read(answer, RoleAnswer)
        except (UnavailableError, _NoMessageError) as error:
            return RoleState(role=Role.UNKNOWN, message=f"{self._where}: {error}"[:1024])
        snapshot: dict[str, Any] = {"role": found.role}
        if found.snapshot is not None:
            snapshot["snapshot"] = found.snapshot
        if len(json.dumps(snapshot)) > MAX_SNAPSHOT:
            raise PromotionProblemError(
                "SnapshotTooLarge", f"{self._where} gave a snapshot of more than {MAX_SNAPSHOT} bytes: give less"
            )
        return RoleState(
            role=Role(found.role),
            message=found.message,
            fence=parse_fence(found.fence),
            position=found.position,
            history=found.history,
            lag=found.lag_seconds,
            snapshot=snapshot,
        )

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """See the port."""
        await self._change("promote", region, fence=fence, run=run, source=source)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """See the port."""
        await self._change("demote", region, fence=fence, run=run, successor=successor)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """See the port. A receiver that has no restore of its own is asked for the role that the region had."""
        answer = await self._change("restore", region, fence=fence, run=run, snapshot=dict(snapshot))
        if answer.status != NOT_IMPLEMENTED:
            return
        role = snapshot.get("role")
        if role == Role.ACTIVE.value:
            await self._change("promote", region, fence=fence, run=run)
        elif role == Role.STANDBY.value:
            await self._change("demote", region, fence=fence, run=run)

    async def divergence(self, region: str, active: str) -> str:
        """The protocol has no word for it: an endpoint that holds data refuses a demotion that would lose some."""
        return ""

    async def sync(self, source: str, to: str) -> SyncState:
        """See the port. A receiver that does not know the action has nothing that could be behind."""
        try:
            answer = await self._call("sync", to, key=self._nonce(), source=source)
            if answer.status == NOT_IMPLEMENTED:
                return SyncState(done=True, message=f"{self._where} has no data to catch up with")
            found = _read(answer, SyncAnswer)
        except _NoMessageError as error:
            return SyncState(done=False, message=f"{self._where}: {error}"[:1024])
        return SyncState(done=found.done, message=found.message, behind=found.behind)

    async def _change(self, action: Action, region: str, *, fence: Fence, run: str, **fields: Any) -> Answer:
        # The epoch, not the whole fence: the next leader repeats what the last one may have done, as the same message.
        key = "\x00".join((run, str(fence.epoch)))
        return await self._call(action, region, key=key, fence=fence, run=run, **fields)

    async def _call(
        self, action: Action, region: str, *, key: str, fence: Fence | None = None, **fields: Any
    ) -> Answer:
        """Post and return an answer that is 2xx or 501; everything else is an error of the port."""
        text = str(fence) if fence is not None else None
        request = PromotionRequest(
            action=action, policy=self._policy.key, step=self._step.name, region=region, fence=text, **fields
        )
        try:
            answer = await self._egress.post(
                self._receiver.url,
                request.model_dump(mode="json", by_alias=True, exclude_none=True),
                purpose="promotion",
                idempotency_key=message_id(self._policy.uid, self._step.name, region, action, key),
                timeout=min(CALL, self._step.timeout),
                keys=await self._secrets.keys(self._policy.namespace, self._receiver),
                tries=TRIES,
            )
        except ReceiverError as error:
            if error.retryable:
                raise UnavailableError(str(error), reason=error.reason) from error
            raise PromotionProblemError(error.reason, f"step {self._step.name}: {error}") from error
        if answer.good or (answer.status == NOT_IMPLEMENTED and action in ("restore", "sync")):
            return answer
        raise self._refused(action, answer, fence)

    def _refused(self, action: Action, answer: Answer, fence: Fence | None) -> Exception:
        try:
            refusal = _read(answer, Refusal)
        except _NoMessageError:
            refusal = Refusal(message=answer.words())
        words = " ".join(refusal.message.split())[:256]
        kept = parse_fence(refusal.fence)
        message = f"{self._where} answered {answer.status} to {action}{': ' + words if words else ''}"
        if answer.status == 409 and fence is not None and kept is not None and kept > fence:
            return FencedOffError(f"{message}: fence {kept} was there before {fence}")
        if answer.status in TRY_AGAIN:
            return UnavailableError(message, status=answer.status, retry_after=retry_after(answer) or None)
        if 300 <= answer.status < 400:
            message += ": redirects are not followed; write the URL that it leads to"
        return PromotionProblemError("ReceiverRefused", message)


class _NoMessageError(Exception):
    """A 2xx answer that is not what the protocol says."""


def _read(answer: Answer, model: type[_M]) -> _M:
    if not answer.complete:
        raise _NoMessageError("the answer is longer than what is read of it")
    try:
        return model.model_validate_json(answer.body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise _NoMessageError(f"the answer is no {model.__name__}: {where}: {first['msg']}"[:300]) from error


def http_steps(*, egress: Egress, secrets: SigningKeys, nonce: Callable[[], str]) -> dict[StepKind, Constructor]:
    """Return the constructor of HTTP steps, for `factory.PromotionDrivers`."""

    def make(policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
        return HttpStep(step, policy, egress=egress, secrets=secrets, nonce=nonce)

    return {StepKind.HTTP: make}
