"""HTTP probes on httpx: the reference adapter of the `Prober` port and the oracle of its contract tests.

One transport with one connection per endpoint: a pool shared by many origins looks through all its connections for each
request and makes most probes of a thousand fail. It costs several times the CPU time of `http1`, which is the path in
use.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from typing import Any, cast

import httpx

from regent.adapters.probes.connect import Connector
from regent.adapters.probes.http_check import CompiledHttpCheck
from regent.adapters.probes.lag import LoopLag
from regent.adapters.probes.outcome import NoAnswerError
from regent.adapters.probes.parser import MAX_BODY, MalformedResponseError
from regent.adapters.probes.resolve import Address, Addresses, Resolver
from regent.adapters.probes.tls import TlsContexts, certificate_expiry
from regent.domain.health.model import HttpCheck, ProbeResult, ProbeSpec
from regent.engine.ports import EndpointProber

_DRAIN_SECONDS = 0.05


class HttpxProber:
    """Makes HTTP endpoint probers on httpx (the `Prober` port). ValueError for checks other than HTTP."""

    def __init__(self) -> None:
        self._resolver = Resolver()
        self._contexts = TlsContexts()
        self._lag = LoopLag()

    def open(self, spec: ProbeSpec) -> EndpointProber:
        """See the port."""
        if not isinstance(spec.check, HttpCheck):
            raise ValueError("httpx probes HTTP only")
        context = None if spec.tls is None else self._contexts.get(spec.tls, protocol="http/1.1")
        connector = Connector(
            spec, resolver=self._resolver, contexts=self._contexts, lag=self._lag, protocol="http/1.1"
        )
        return HttpxEndpointProber(CompiledHttpCheck(spec.check, spec), spec, connector, context)

    async def close(self) -> None:
        """See the port."""
        self._resolver.close()
        self._lag.stop()


class HttpxEndpointProber:
    """Probes one HTTP endpoint with httpx (the `EndpointProber` port)."""

    def __init__(
        self, check: CompiledHttpCheck, spec: ProbeSpec, connector: Connector, context: ssl.SSLContext | None
    ) -> None:
        self._check = check
        self._connector = connector
        self._context = context
        self._scheme = "https" if spec.tls else "http"
        self._server_name = "" if spec.tls is None else spec.tls.server_name or spec.host
        self._kept: httpx.AsyncHTTPTransport | None = None

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        """See the port."""

        async def exchange(addresses: Addresses) -> ProbeResult:
            if cold:
                async with self._transport() as transport:
                    return await self._ask_any(transport, addresses, timeout, keep=False)
            if self._kept is None:
                self._kept = self._transport()
            return await self._ask_any(self._kept, addresses, timeout, keep=True)

        return await self._connector.attempt(timeout, exchange)

    async def close(self) -> None:
        """See the port."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await kept.aclose()

    def _transport(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        # Without TLS the context is never used: False spares the making of one (0.8 MB) per endpoint.
        verify = self._context if self._context is not None else False
        return httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)

    async def _ask_any(
        self, transport: httpx.AsyncHTTPTransport, addresses: Addresses, timeout: float, *, keep: bool
    ) -> ProbeResult:
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._ask(transport, address, timeout, keep=keep)
        return await self._ask(transport, addresses[-1], timeout, keep=keep)

    async def _ask(
        self, transport: httpx.AsyncHTTPTransport, address: Address, timeout: float, *, keep: bool
    ) -> ProbeResult:
        reused, result = await self._ask_once(transport, address, timeout, keep=keep)
        if reused and isinstance(result, NoAnswerError | OSError):
            _, result = await self._ask_once(transport, address, timeout, keep=keep)
        if isinstance(result, Exception):
            raise result
        return result

    async def _ask_once(
        self, transport: httpx.AsyncHTTPTransport, address: Address, timeout: float, *, keep: bool
    ) -> tuple[bool, ProbeResult | Exception]:
        """Return whether the connection was a kept one, and the result or what went wrong."""
        reused = True

        async def trace(event: str, _: dict[str, Any]) -> None:
            nonlocal reused
            if event == "connection.connect_tcp.started":
                reused = False

        request = self._request(address, keep=keep)
        # A handshake that is cancelled from outside leaves httpcore's socket open, so its own limit has to come first.
        limits = {"connect": timeout * 0.95}
        request.extensions = {"trace": trace, "sni_hostname": self._server_name, "timeout": limits}
        start = time.monotonic()
        try:
            response = await transport.handle_async_request(request)
            latency = time.monotonic() - start
            stream = response.extensions["network_stream"]
            expiry = certificate_expiry(stream.get_extra_info("ssl_object"))
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, OSError) as error:
            return reused, _translate(error)
        result = self._check.judge(response.status_code, body, latency=latency, reused=reused, expiry=expiry)
        return reused, result

    def _request(self, address: Address, *, keep: bool) -> httpx.Request:
        host, port = address.sockaddr[:2]
        netloc = f"[{host}]" if ":" in host else host
        connection = "keep-alive" if keep else "close"
        return httpx.Request(
            "GET",
            f"{self._scheme}://{netloc}:{port}{self._check.target}",
            headers=[*self._check.headers, ("Connection", connection)],
        )

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        if self._check.wants_body:
            await _read(response, body)
        else:
            # The head decided. The rest is read so that the connection can be kept; one that is slow or broken is not.
            with contextlib.suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await _read(response, body)
        return bytes(body[:MAX_BODY])


async def _read(response: httpx.Response, body: bytearray) -> None:
    stream = cast(httpx.AsyncByteStream, response.stream)
    async for chunk in stream:
        body += chunk
        if len(body) > MAX_BODY:
            return


def _translate(error: BaseException) -> Exception:
    """Find the operating system's or TLS error below httpx's, which is what outcomes are made of."""
    if isinstance(error, httpx.TimeoutException):
        return TimeoutError()
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
            continue
        if isinstance(seen, OSError) and (seen.errno or isinstance(seen, ssl.SSLError)):
            return seen
        seen = seen.__cause__ or seen.__context__
    if "without sending a response" in str(error) or isinstance(error, httpx.ReadError):
        return NoAnswerError()
    return MalformedResponseError(str(error) or type(error).__name__)
