"""One request to an endpoint of a user's, over a connection whose address was checked.

The guard sits where connections are made: the name is resolved once, every address of it is checked, and the
connection goes to one of these addresses, so that a name that changes its mind in between gains nothing. Host header,
server name and the verification of the certificate stay those of the URL. Redirects are not followed, proxies and
credentials of the environment are not used, and every request has a connection of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore
from httpx import URL, InvalidURL

from regent import __version__
from regent.adapters.egress.connections import GuardedBackend
from regent.adapters.probes.resolve import Resolver
from regent.domain.errors import ReceiverError

MAX_BODY = 64 * 1024
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an endpoint answered. `complete` is False when the body went on after `MAX_BODY` bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; of repeated ones the last."""
    body: bytes = b""
    complete: bool = True

    @property
    def good(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def words(self, limit: int = 256) -> str:
        """The body as one line of text for people, at most `limit` characters, without control characters."""
        text = " ".join(self.body[: 4 * limit].decode(errors="replace").split())
        return "".join(character for character in text if character.isprintable())[:limit]


class GuardedClient:
    """Sends single requests.

    Args:
        allow_loopback: setting `egress.allowLoopback`.
        tls: context for https; default: the trust store of the system.
        resolver: name service; default: one of its own.
    """

    def __init__(
        self, *, allow_loopback: bool, tls: ssl.SSLContext | None = None, resolver: Resolver | None = None
    ) -> None:
        # Made once: loading the trust store takes 20 ms.
        self._tls = tls or ssl.create_default_context()
        self._backend = GuardedBackend(allow_loopback=allow_loopback, resolver=resolver or Resolver())

    async def request(
        self, method: str, url: str, *, timeout: float, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        """Send a request and read the answer, all within `timeout` seconds.

        Raises:
            ReceiverError: there is no answer; says why.
        """
        parsed = parse_url(url)
        fields = {"host": _host_field(parsed), "user-agent": f"regent/{__version__}", "connection": "close"}
        # Nothing is ever decompressed: a small answer must not become a large one here.
        fields |= {"accept-encoding": "identity"} | {name.lower(): value for name, value in headers.items()}
        try:
            async with asyncio.timeout(timeout), self._stream(method, parsed, fields, content, timeout) as response:
                body, complete = await _read(response)
        except TimeoutError as error:
            raise ReceiverError(
                "TimedOut", f"{origin(url)} did not answer within {timeout:.3g} s", retryable=True
            ) from error
        answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Answer(status=response.status, headers=answered, body=body, complete=complete)

    def close(self) -> None:
        """Let the threads of the name service end."""
        self._backend.close()

    @asynccontextmanager
    async def _stream(
        self, method: str, url: URL, headers: Mapping[str, str], content: bytes | None, timeout: float
    ) -> AsyncIterator[httpcore.Response]:
        where = origin(str(url))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        limits = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        try:
            # A pool for each request: nothing is kept, and nothing of one receiver is there for another.
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=self._backend, max_keepalive_connections=0
                ) as pool,
                pool.stream(
                    method,
                    target,
                    headers=[(name.encode("ascii"), value.encode()) for name, value in headers.items()]
                    + ([(b"content-length", str(len(content)).encode())] if content is not None else []),
                    content=content,
                    extensions={"timeout": limits},
                ) as response,
            ):
                yield response
        except httpcore.TimeoutException as error:
            raise ReceiverError("TimedOut", f"{where} did not answer in time", retryable=True) from error
        except httpcore.ConnectError as error:
            if _is_tls(error):
                raise ReceiverError("TlsFailed", f"{where}: {error}"[:300]) from error
            raise ReceiverError(
                "ConnectFailed", f"{where} cannot be connected to: {error}"[:300], retryable=True
            ) from error
        except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            raise ReceiverError(
                "BadAnswer", f"{where} broke off or answered no HTTP: {error}"[:300], retryable=True
            ) from error
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, UnicodeError) as error:
            raise ReceiverError("InvalidRequest", f"{where} cannot be sent this request: {error}"[:300]) from error


async def _read(response: httpcore.Response) -> tuple[bytes, bool]:
    body = b""
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > MAX_BODY:
            return body[:MAX_BODY], False
    return body, True


def parse_url(url: str) -> URL:
    """Return the parsed URL.

    Raises:
        ReceiverError: it is no http or https URL with a host and without credentials.
    """
    try:
        parsed = URL(url)
    except InvalidURL as error:
        raise ReceiverError("InvalidURL", "the URL cannot be read") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise ReceiverError("InvalidURL", "write an http or https URL with a host and without credentials")
    return parsed


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: all of it that may be shown, for a path or query may be a credential."""
    try:
        parsed = parse_url(url)
    except ReceiverError:
        return "the URL"
    return f"{parsed.scheme}://{_host_field(parsed)}"


def _host_field(url: URL) -> str:
    return url.netloc.decode("ascii")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
