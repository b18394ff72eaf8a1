"""A receiver of the user's as a traffic target: it is told the distribution and does with it what it likes.

Nothing can be read back from a receiver, so what it has acknowledged is remembered here, and only here: after a restart
or a change of leader the present distribution is told once more. Distributions are absolute, so that does no harm, and
the fence in the message lets a receiver refuse an old leader. A receiver that refuses concerns itself only: it never
stops a run, which has other targets to move.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from regent.adapters.egress.client import origin
from regent.adapters.egress.egress import TRY_AGAIN, Egress
from regent.adapters.egress.messages import DistributionMessage, RegionPercent
from regent.adapters.traffic.kinds import compact
from regent.domain.errors import ReceiverError, TargetProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import HttpReceiver
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Clock
from regent.engine.receivers import SigningKeys, message_id
from regent.engine.traffic import TargetState

CALL = 2.0
"""Seconds for one message with all its tries: a run's step waits that long for the slowest target."""
TRIES = 2
SILENCE, LONGEST_SILENCE = 2.0, 60.0
"""Seconds for which the same message is not sent again after it failed, doubled with each failure in a row."""
REMEMBERED = 4096
"""Receivers that are remembered; the one not used for longest is forgotten first, and told again when it is used."""
CONFLICT = 409


@dataclass(slots=True)
class _Known:
    """What passed between us and one receiver for one policy."""

    fence: Fence | None = None
    distribution: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""
    """Identifier of the message that failed last; "": the last one was acknowledged."""
    problem: str = ""
    message: str = ""
    silence: float = 0.0
    silent_until: float = 0.0


class Webhooks:
    """Makes webhook targets, and remembers what their receivers acknowledged.

    Args:
        egress: sends the messages.
        secrets: keys that sign them.
        clock: for how long a failed message is not repeated.
    """

    def __init__(self, *, egress: Egress, secrets: SigningKeys, clock: Clock) -> None:
        self.egress = egress
        self.secrets = secrets
        self.clock = clock
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def target(self, policy: PolicySpec, spec: TargetSpec) -> WebhookTarget:
        """Return the target of one policy.

        Raises:
            ValueError: the target has no receiver.
        """
        if spec.webhook is None:
            raise ValueError(f"{spec.ref} has no receiver")
        key = (policy.uid, spec.webhook.url)
        known = self._known.setdefault(key, _Known())
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        receiver = HttpReceiver(url=spec.webhook.url, secret=spec.webhook.secret)
        return WebhookTarget(self, policy=policy, spec=spec, receiver=receiver, known=known)


class WebhookTarget:
    """Implements `TrafficTarget`."""

    def __init__(
        self, webhooks: Webhooks, *, policy: PolicySpec, spec: TargetSpec, receiver: HttpReceiver, known: _Known
    ) -> None:
        self._webhooks = webhooks
        self._policy = policy
        self._spec = spec
        self._receiver = receiver
        self._known = known

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the receiver."""
        return self._spec

    async def observe(self, distribution: Mapping[str, int], *, fresh: bool = False) -> TargetState:
        """Say what was acknowledged. It has no shares of its own, and nothing in it counts for a run's state hash."""
        known = self._known
        left = known.silent_until - self._webhooks.clock.monotonic()
        if known.failed and left > 0:
            return TargetState(ref=self._spec.ref, problem=known.problem, message=known.message, poll=left)
        if known.fence is None or known.failed:
            # After a failure it is not known what the receiver believes, so nothing there is called ours.
            return TargetState(ref=self._spec.ref, accepted_message="not acknowledged yet")
        return TargetState(
            ref=self._spec.ref,
            aligned=dict(known.distribution) == dict(distribution),
            fence=known.fence,
            owner=self._owner,
            accepted=True,
            accepted_message=f"acknowledged with fence {known.fence}",
        )

    async def apply(self, distribution: Mapping[str, int], *, fence: Fence, owner: str) -> TargetState:
        """Tell the receiver, unless it has acknowledged this very message; see `TrafficTarget.apply`."""
        known = self._known
        if known.fence == fence and dict(known.distribution) == dict(distribution) and not known.failed:
            return await self.observe(distribution)
        shares = [RegionPercent(region=name, weight_percent=share) for name, share in distribution.items()]
        body = DistributionMessage(
            policy=self._policy.key,
            policy_uid=self._policy.uid,
            epoch=fence.epoch,
            fence=str(fence),
            distribution=shares,
        ).model_dump(mode="json", by_alias=True)
        identifier = message_id("target", self._receiver.url, compact(body))
        left = known.silent_until - self._webhooks.clock.monotonic()
        if known.failed == identifier and left > 0:
            raise UnavailableError(known.message, retry_after=left)
        problem, message = await self._post(body, identifier)
        if problem:
            self._fail(identifier, problem, message)
            raise TargetProblemError(problem, message)
        known.fence, known.distribution, known.failed, known.silence = fence, dict(distribution), "", 0.0
        return await self.observe(distribution)

    @property
    def _owner(self) -> str:
        return f"{self._policy.namespace}/{self._policy.name}/{self._policy.uid}"

    async def _post(self, body: Mapping[str, object], identifier: str) -> tuple[str, str]:
        """Post the message; return ("", "") when it was acknowledged, else the problem. Neither path nor query of the
        URL are shown, nor what the receiver wrote: they may be secrets."""
        where = origin(self._receiver.url)
        try:
            keys = await self._webhooks.secrets.keys(self._policy.namespace, self._receiver)
            answer = await self._webhooks.egress.post(
                self._receiver.url,
                body,
                purpose="target",
                idempotency_key=identifier,
                timeout=CALL,
                keys=keys,
                tries=TRIES,
            )
        except ReceiverError as error:
            return "WebhookUnavailable" if error.retryable else "WebhookProblem", str(error)[:512]
        if answer.good:
            return "", ""
        if answer.status == CONFLICT:
            return "WebhookRefused", f"{where} answered 409: it says that it has a greater fence; look what told it so"
        if answer.status in TRY_AGAIN:
            return "WebhookUnavailable", f"{where} answered {answer.status}"
        return "WebhookRefused", f"{where} answered {answer.status}; a receiver acknowledges with 2xx"

    def _fail(self, identifier: str, problem: str, message: str) -> None:
        known = self._known
        known.failed, known.problem, known.message = identifier, problem, message
        known.silence = min(2 * known.silence or SILENCE, LONGEST_SILENCE)
        known.silent_until = self._webhooks.clock.monotonic() + known.silence
