"""Requests to Patroni's REST API.

Over `adapters.egress.client.GuardedClient`, for the same reasons as all URLs of users: addresses are checked where the
connection is made, nothing is redirected, answers are bounded. (Patroni's server answers HTTP/1.0 and closes, so there
is no connection to keep either.)

`/health` and not `/patroni` tells the state: both have the same body, but `/patroni` tries a PostgreSQL that does not
answer again for seconds, with a second between two tries, and that is exactly the time that counts in a switchover.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from regent.adapters.egress.client import GuardedClient, origin
from regent.adapters.promotion.patroni_state import Address, Seen, leader_address, read_seen
from regent.domain.errors import ConflictError, PromotionProblemError, ReceiverError, UnavailableError

TIMEOUT = 2.0
"""Seconds for one request."""

_MAX_CLIENTS = 64


class PatroniSecrets(Protocol):
    """Secrets of a policy's namespace."""

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Return the decoded entries.

        Raises:
            PromotionProblemError: it is not there or may not be read; says what to do.
            UnavailableError: it cannot be read now.
        """
        ...


class Clients:
    """One guarded client for each private certificate authority, and one for the system's trust store."""

    def __init__(self, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback
        self._clients: OrderedDict[bytes, GuardedClient] = OrderedDict()

    def client(self, authority: bytes = b"") -> GuardedClient:
        """Return the client that trusts the PEM certificates `authority` alone; b"": what the system trusts.

        Raises:
            ValueError: there is no certificate in it.
        """
        found = self._clients.get(authority)
        if found is None:
            found = GuardedClient(allow_loopback=self._allow_loopback, tls=_context(authority))
            self._clients[authority] = found
            while len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)[1].close()
        self._clients.move_to_end(authority)
        return found

    def close(self) -> None:
        """Let the threads of the name services end."""
        while self._clients:
            self._clients.popitem()[1].close()


def _context(authority: bytes) -> ssl.SSLContext:
    if not authority:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=authority.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError("there is no PEM certificate in it") from error


class PatroniApi:
    """The Patroni of one region.

    Args:
        region: for messages.
        url: of the REST API, without a slash at its end.
        client: sends the requests.
        authorization: value of that header for changes; "": none. Looking needs none.
    """

    def __init__(self, region: str, url: str, *, client: GuardedClient, authorization: str = "") -> None:
        self._region = region
        self._url = url
        self._client = client
        self._authorization = authorization
        self._where = f"Patroni of {region} at {origin(url)}"

    async def look(self, *, timeout: float = TIMEOUT) -> Seen:
        """Look at state and configuration, both at once.

        Raises:
            UnavailableError: it does not answer, or not as Patroni does.
        """
        status, config = await asyncio.gather(
            # 503 is how /health says that PostgreSQL does not run; the body is the same.
            self._get("/health", good=(200, 503), timeout=timeout),
            self._get("/config", good=(200,), timeout=timeout),
        )
        return read_seen(status, config)

    async def address(self) -> Address | None:
        """Ask where the leader's PostgreSQL is; None when there is no leader now.

        Raises:
            UnavailableError: it does not answer, or not as Patroni does.
        """
        return leader_address(await self._get("/cluster", good=(200,), timeout=TIMEOUT))

    async def history(self) -> list[tuple[int, int]]:
        """Return the ends of past timelines: number, and position in bytes.

        Raises:
            UnavailableError: it does not answer, or not as Patroni does.
        """
        answer = await self._ask("GET", "/history", timeout=TIMEOUT)
        lines = answer[1] if answer[0] == 200 and isinstance(answer[1], list) else []
        return [
            (line[0], line[1])
            for line in lines[-1000:]
            if isinstance(line, list) and len(line) >= 2 and isinstance(line[0], int) and isinstance(line[1], int)
        ]

    async def configure(self, change: Mapping[str, Any]) -> None:
        """Merge `change` into the dynamic configuration. Patroni compares and sets: it never overwrites a change that
        was made since it read.

        Raises:
            PromotionProblemError: the credentials are refused.
            ConflictError: somebody changed it at the same time.
            UnavailableError: it did not answer, or its store does not; the change may have happened.
        """
        status, _ = await self._ask("PATCH", "/config", timeout=TIMEOUT, body=change)
        if status in (401, 403):
            raise self._refused(status)
        if status == 409:
            raise ConflictError(f"{self._where}: its configuration was changed at the same time", status=status)
        if status != 200:
            raise UnavailableError(f"{self._where} answered the change with {status}", status=status)

    async def lead(self, member: str) -> None:
        """Let a member take the leader key of a cluster that has no leader, as `patronictl failover` does.

        Raises:
            PromotionProblemError: the credentials are refused.
            UnavailableError: it was refused, or there was no answer yet: Patroni answers when it is done.
        """
        status, _ = await self._ask("POST", "/failover", timeout=TIMEOUT, body={"candidate": member})
        if status in (401, 403):
            raise self._refused(status)
        if status != 200:
            raise UnavailableError(f"{self._where} answered the request to lead with {status}", status=status)

    def _refused(self, status: int) -> PromotionProblemError:
        return PromotionProblemError(
            "CredentialsRefused",
            f"{self._where} refuses the change with {status}: put username and password of its "
            "restapi.authentication into the Secret of patroni.credentialsSecretRef",
        )

    async def _get(self, path: str, *, good: tuple[int, ...], timeout: float) -> Mapping[str, Any]:
        status, content = await self._ask("GET", path, timeout=timeout)
        if status not in good or not isinstance(content, dict):
            raise UnavailableError(f"{self._where} answered {path} with {status} and no state", status=status)
        return content

    async def _ask(
        self, method: str, path: str, *, timeout: float, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        headers = {"accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
            headers["content-type"] = "application/json"
            # Only where it is needed: whoever answers in Patroni's place to a look learns nothing.
            if self._authorization:
                headers["authorization"] = self._authorization
        try:
            answer = await self._client.request(
                method, self._url + path, timeout=timeout, headers=headers, content=content
            )
        except ReceiverError as error:
            raise UnavailableError(f"Patroni of {self._region}: {error}") from error
        if not answer.complete:
            raise UnavailableError(f"{self._where} answered {path} with too much", status=answer.status)
        try:
            return answer.status, json.loads(answer.body)
        except (ValueError, RecursionError):
            return answer.status, None


def basic_authorization(username: bytes, password: bytes) -> str:
    """Return the value of the header."""
    return "Basic " + base64.b64encode(username + b":" + password).decode("ascii")
