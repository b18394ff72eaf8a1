"""All that leads to endpoints of users, put together: one guarded client, one signing sender, the keys."""

from __future__ import annotations

from collections.abc import Callable

from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.hooks import HttpHooks
from regent.adapters.egress.notifications import HttpEventSender
from regent.adapters.egress.signing import parse_keys
from regent.adapters.promotion.http import Constructor, http_steps
from regent.adapters.traffic.webhook import Webhooks
from regent.domain.failover.options import StepKind
from regent.engine.notifications import Notifier
from regent.engine.ports import Clock, Cluster, Leadership, Metrics, Recorder
from regent.engine.receivers import ReceiverSecrets


class Receivers:
    """Attributes: `client` for single requests, `egress` for signed messages, `secrets` for the keys of policies.

    Args:
        allow_loopback: setting `egress.allowLoopback`.
        cluster: where Secrets are read.
        clock: time that is signed, and deadlines.
        chance: 0 ≤ number < 1, spreads repeated tries.
        nonce: text that is new each time.
        metrics: where results are counted.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool,
        cluster: Cluster,
        clock: Clock,
        chance: Callable[[], float],
        nonce: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self.client = GuardedClient(allow_loopback=allow_loopback)
        self.egress = Egress(self.client, clock=clock, jitter=chance, metrics=metrics)
        self.secrets = ReceiverSecrets(cluster=cluster, parse=parse_keys, clock=clock)
        self._clock = clock
        self._nonce = nonce
        self._chance = chance
        self._metrics = metrics

    def hooks(self) -> HttpHooks:
        """What calls hooks."""
        return HttpHooks(egress=self.egress, secrets=self.secrets, clock=self._clock)

    def notifier(self, *, leadership: Leadership, recorder: Recorder) -> Notifier:
        """What delivers notifications while `leadership` lasts; losses are told to `recorder`."""
        return Notifier(
            HttpEventSender(egress=self.egress, secrets=self.secrets),
            leadership=leadership,
            clock=self._clock,
            jitter=self._chance,
            recorder=recorder,
            metrics=self._metrics,
        )

    def steps(self) -> dict[StepKind, Constructor]:
        """Promotion steps of type HTTP."""
        return http_steps(egress=self.egress, secrets=self.secrets, nonce=self._nonce)

    def webhooks(self) -> Webhooks:
        """Traffic targets of type webhook."""
        return Webhooks(egress=self.egress, secrets=self.secrets, clock=self._clock)

    def close(self) -> None:
        """Let go of what is shared."""
        self.client.close()
