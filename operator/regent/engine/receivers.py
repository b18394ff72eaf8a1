"""Endpoints of the user's that Regent calls: identifiers of messages, and the keys that sign them.

Hooks, HTTP promotion steps, notifications and webhook targets name a Secret in their policy's namespace. Regent reads
it with its own account and has no right to Secrets but where it was given one: a namespace in the setting
`secretNamespaces`, or a Role of the user's that names this very Secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from regent.domain.errors import ClusterError, ForbiddenError, NotFoundError, ReceiverError
from regent.domain.failover.options import HttpReceiver
from regent.engine.ports import Clock, Cluster, Object
from regent.engine.resources import SECRETS

KEY = "key"
"""Name of the entry of the Secret."""

FRESH_FOR = 10.0
"""Seconds for which a key that was read is used again. Observing a promotion step twice a second must not become as
many reads of its Secret; a changed key counts after this long at the latest."""

MAX_KNOWN = 1024
MAX_VALUE = 1024


def message_id(*parts: str) -> str:
    """Return the identifier of the message that `parts` describe: equal parts, equal identifier, in every process.

    A hash, because the signature scheme allows no full stops in it and the length of names is no concern of receivers.
    """
    text = "\x00".join(parts)
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:40]}"


class SigningKeys(Protocol):
    """Keys for the signatures of receivers."""

    async def keys(self, namespace: str, receiver: HttpReceiver) -> Sequence[bytes]:
        """Return the keys for `receiver` of a policy in `namespace`, newest first; none when it names no Secret.

        Raises:
            ReceiverError: the Secret cannot be read or used; the message says what to do and nothing of its value.
        """
        ...


class ReceiverSecrets:
    """Implements `SigningKeys` over the hub.

    Args:
        cluster: where the Secrets are read, past any cache.
        parse: turns the value into keys; ValueError with what is wrong.
        clock: age of what is known.
    """

    def __init__(self, *, cluster: Cluster, parse: Callable[[bytes], Sequence[bytes]], clock: Clock) -> None:
        self._cluster = cluster
        self._parse = parse
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Sequence[bytes]]] = OrderedDict()

    async def keys(self, namespace: str, receiver: HttpReceiver) -> Sequence[bytes]:
        """See `SigningKeys.keys`."""
        if not receiver.secret:
            return ()
        where = (namespace, receiver.secret)
        known = self._known.get(where)
        if known is not None and self._clock.monotonic() - known[0] < FRESH_FOR:
            return known[1]
        self._known.pop(where, None)
        keys = self._value(await self._read(namespace, receiver.secret), f"Secret {namespace}/{receiver.secret}")
        self._known[where] = (self._clock.monotonic(), keys)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return keys

    async def _read(self, namespace: str, name: str) -> Object:
        try:
            return await self._cluster.get(SECRETS, namespace, name)
        except NotFoundError as error:
            raise ReceiverError("SecretNotFound", f"Secret {namespace}/{name} does not exist: create it") from error
        except ForbiddenError as error:
            raise ReceiverError(
                "SecretForbidden",
                f"Regent's account may not read Secret {namespace}/{name}: add {namespace} to the setting "
                "secretNamespaces, or bind it a Role that may get this Secret",
            ) from error
        except ClusterError as error:
            raise ReceiverError(
                "SecretUnavailable", f"Secret {namespace}/{name} cannot be read now: {error}"[:300], retryable=True
            ) from error

    def _value(self, secret: Object, where: str) -> Sequence[bytes]:
        value = (secret.get("data") or {}).get(KEY)
        if value is None:
            raise ReceiverError("SecretKeyNotFound", f"{where} has no key {KEY}: add it")
        try:
            raw = base64.b64decode(value, validate=True)
            if len(raw) > MAX_VALUE:
                raise ValueError(f"it is longer than {MAX_VALUE} bytes")
            return self._parse(raw)
        except binascii.Error as error:
            raise ReceiverError("SecretInvalid", f"{KEY} of {where} cannot be used: it is not base64") from error
        except ValueError as error:
            raise ReceiverError("SecretInvalid", f"{KEY} of {where} cannot be used: {error}") from None
