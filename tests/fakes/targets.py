"""Targets over clusters in memory. Webhooks lead to real receivers on loopback."""

from __future__ import annotations

from typing import Any

from regent.adapters.egress.client import GuardedClient
from regent.adapters.egress.egress import Egress
from regent.adapters.egress.signing import parse_keys
from regent.adapters.traffic.factory import Targets
from regent.adapters.traffic.webhook import Webhooks
from regent.engine.ports import Clock, Cluster, Leadership, Metrics
from regent.engine.receivers import ReceiverSecrets
from regent.engine.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.members import FakeMembers
from tests.fakes.ports import FakeLeadership, FakeMetrics

CLIENT = GuardedClient(allow_loopback=True)
"""Made once: loading the trust store takes 20 ms."""


def make_webhooks(cluster: Cluster, *, clock: Clock | None = None, metrics: Metrics | None = None) -> Webhooks:
    clock = clock or FakeClock()
    return Webhooks(
        egress=Egress(CLIENT, clock=clock, jitter=lambda: 0.5, metrics=metrics or FakeMetrics()),
        secrets=ReceiverSecrets(cluster=cluster, parse=parse_keys, clock=clock),
        clock=clock,
    )


def make_targets(
    cluster: Cluster,
    store: Store,
    *,
    members: Any = None,
    leadership: Leadership | None = None,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
) -> Targets:
    clock = clock or FakeClock()
    return Targets(
        cluster=cluster,
        store=store,
        members=members or FakeMembers(),
        webhooks=make_webhooks(cluster, clock=clock, metrics=metrics),
        leadership=leadership or FakeLeadership(),
        clock=clock,
    )
