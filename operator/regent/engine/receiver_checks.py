"""Are the keys there that a policy's receivers need? Looked up in the background, so that it shows while all is well.

A hook that cannot be signed would otherwise be noticed in the middle of an outage. What is found makes the policy not
Ready and stands in the way of nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from regent.domain.conditions import Condition
from regent.domain.errors import ReceiverError
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import HttpReceiver, StepKind
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Clock
from regent.engine.receivers import SigningKeys

log = logging.getLogger("regent.policies")

INTERVAL = 60.0
"""Seconds between two looks at the keys of one policy."""

AGAIN = 10.0
"""Seconds until the next look where something is wrong: somebody is putting it right."""


@dataclass(slots=True, eq=False)
class _Watched:
    uid: str
    receivers: Mapping[str, HttpReceiver]
    due: float
    problem: Condition | None = None


class ReceiverChecks:
    """Keeps what is wrong with the receivers of each policy. `run` is supervised.

    Args:
        secrets: where keys come from.
        clock: when the next look is due.
        changed: called with namespace and name of a policy when its answer has changed.
    """

    def __init__(self, secrets: SigningKeys, *, clock: Clock, changed: Callable[[str, str], None]) -> None:
        self._secrets = secrets
        self._clock = clock
        self._changed = changed
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._wake = asyncio.Event()

    def problem(self, spec: PolicySpec, targets: Iterable[TargetSpec] = ()) -> Condition | None:
        """What is wrong with the receivers, as far as it is known: the condition Ready that the policy should show."""
        key = (spec.namespace, spec.name)
        receivers = {what: receiver for what, receiver in receivers_of(spec, targets) if receiver.secret}
        if not receivers:
            self._watched.pop(key, None)
            return None
        known = self._watched.get(key)
        if known is None or known.uid != spec.uid or known.receivers != receivers:
            known = _Watched(spec.uid, receivers, due=self._clock.monotonic())
            self._watched[key] = known
            self._wake.set()
        return known.problem

    def forget(self, namespace: str, name: str) -> None:
        """The policy is gone."""
        self._watched.pop((namespace, name), None)

    async def run(self) -> None:
        """Look at what is due, one after the other, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            for (namespace, name), watched in list(self._watched.items()):
                if watched.due <= now:
                    await self._check(namespace, name, watched)
            try:
                await asyncio.wait_for(self._wake.wait(), timeout=1.0 if self._watched else None)
            except TimeoutError:
                continue

    async def _check(self, namespace: str, name: str, watched: _Watched) -> None:
        watched.due = self._clock.monotonic() + INTERVAL
        try:
            found = await self._look(namespace, watched)
        except Exception:
            log.exception("Check of the receivers of a policy failed", extra={"object": f"{namespace}/{name}"})
            return
        if found is not None:
            watched.due = self._clock.monotonic() + AGAIN
        if found != watched.problem and self._watched.get((namespace, name)) is watched:
            watched.problem = found
            self._changed(namespace, name)

    async def _look(self, namespace: str, watched: _Watched) -> Condition | None:
        for what, receiver in watched.receivers.items():
            try:
                await self._secrets.keys(namespace, receiver)
            except ReceiverError as error:
                if error.retryable:
                    return watched.problem  # the API server is away: nothing new is known
                return Condition("Ready", "False", error.reason, f"{what}: {error}")
        return None


def receivers_of(spec: PolicySpec, targets: Iterable[TargetSpec]) -> Iterator[tuple[str, HttpReceiver]]:
    """Every receiver of a policy with what it is for, as the spec names it."""
    options = spec.options
    for hook in options.hooks:
        yield f"hook {hook.name}", hook.receiver
    for step in options.promotion:
        if step.kind is StepKind.HTTP:
            secret = (step.settings.get("secretRef") or {}).get("name", "")
            yield f"promotion step {step.name}", HttpReceiver(url=str(step.settings["url"]), secret=secret)
    for number, notification in enumerate(options.notifications):
        yield f"notifications[{number}]", notification.receiver
    for target in targets:
        if target.webhook is not None:
            yield f"target {target.ref}", HttpReceiver(url=target.webhook.url, secret=target.webhook.secret)
