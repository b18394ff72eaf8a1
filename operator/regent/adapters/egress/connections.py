"""Connections of the guarded client: to checked addresses only, and honest about one that is gone at once."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from regent.adapters.egress.guard import refusal
from regent.adapters.probes.outcome import NameNotFoundError, NotTriedError
from regent.adapters.probes.resolve import Resolver
from regent.domain.errors import ReceiverError


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connections to checked addresses only."""

    def __init__(self, *, allow_loopback: bool, resolver: Resolver) -> None:
        self._allow_loopback = allow_loopback
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that takes the connection, once all of them are checked.

        Raises:
            ReceiverError: the name has no address, or one that is refused.
            httpcore.ConnectError, httpcore.ConnectTimeout: none took it.
        """
        limit = timeout or 1.0
        addresses = await self._addresses(host, port, timeout=limit)
        for index, address in enumerate(addresses):
            try:
                return _Stream(
                    await self._inner.connect_tcp(
                        address, port, timeout=limit / len(addresses), socket_options=socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if index == len(addresses) - 1:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int, *, timeout: float) -> tuple[str, ...]:
        try:
            found = await self._resolver.resolve(host, port, timeout=timeout)
        except NameNotFoundError as error:
            # In an outage a name service forgets names that will be back.
            raise ReceiverError("NameNotFound", str(error), retryable=True) from error
        except NotTriedError as error:
            raise ReceiverError("NameServiceFailed", str(error), retryable=True) from error
        addresses = tuple(str(address.sockaddr[0]) for address in found)
        for address in addresses:
            # One bad address is enough: a name with a good and a bad one is an attempt to get past this.
            refused = refusal(address, allow_loopback=self._allow_loopback)
            if refused:
                raise ReceiverError("AddressRefused", refused if host == address else f"{host}: {refused}")
        return addresses

    def close(self) -> None:
        """Let the threads of the name service end."""
        self._resolver.close()


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that says so when it is gone before it was used.

    uvloop has no socket any more for a connection that the receiver resets between the handshake and the first
    look at it; anyio asks that socket for its peer, and what comes is an AttributeError that no caller expects.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        try:
            return self._inner.get_extra_info(info)
        except AttributeError as error:
            raise httpcore.ConnectError("the connection was reset as soon as it was made") from error
