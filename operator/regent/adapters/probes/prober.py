"""The `Prober` in use: opens the adapter that fits a probe's check and shares what can be shared.

Names, TLS contexts and the watch on the event loop are shared by all probes of the process; connections never are.
"""

from __future__ import annotations

from regent.adapters.probes.connect import Connector
from regent.adapters.probes.grpc import GrpcEndpointProber
from regent.adapters.probes.http1 import Http1EndpointProber
from regent.adapters.probes.http_check import CompiledHttpCheck
from regent.adapters.probes.lag import LoopLag
from regent.adapters.probes.resolve import Resolver
from regent.adapters.probes.tcp import TcpEndpointProber
from regent.adapters.probes.tls import TlsContexts
from regent.domain.health.model import GrpcCheck, HttpCheck, ProbeSpec, TcpCheck
from regent.engine.ports import EndpointProber


class ProbePool:
    """Opens HTTP, TCP and gRPC endpoint probers (the `Prober` port), all of one event loop.

    `resolver` may be given by tests; it is closed with the pool.
    """

    def __init__(self, *, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or Resolver()
        self._contexts = TlsContexts()
        self._lag = LoopLag()

    def open(self, spec: ProbeSpec) -> EndpointProber:
        """See the port. ValueError also for a header, host or JSONPath that cannot be used."""
        match spec.check:
            case HttpCheck():
                check = CompiledHttpCheck(spec.check, spec)
                return Http1EndpointProber(check, self._connector(spec, "http/1.1"))
            case TcpCheck():
                return TcpEndpointProber(self._connector(spec, ""))
            case GrpcCheck():
                return GrpcEndpointProber(spec.check, spec, self._connector(spec, "h2"))

    async def close(self) -> None:
        """See the port. Endpoint probers are closed by those who opened them."""
        self._resolver.close()
        self._lag.stop()

    @property
    def tls_contexts(self) -> int:
        """How many TLS contexts the open probes hold; each costs 0.8 MB."""
        return len(self._contexts)

    def _connector(self, spec: ProbeSpec, protocol: str) -> Connector:
        return Connector(spec, resolver=self._resolver, contexts=self._contexts, lag=self._lag, protocol=protocol)
