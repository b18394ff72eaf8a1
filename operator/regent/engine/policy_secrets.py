"""Secrets that a policy's promotion steps name: credentials of databases and the like, in the policy's own namespace.

`receivers` reads the keys that sign requests, `region_secrets` what Regions refer to; this is for steps that log in.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from regent.domain.errors import ClusterError, ForbiddenError, NotFoundError, PromotionProblemError, UnavailableError
from regent.engine.ports import Clock, Cluster
from regent.engine.resources import SECRETS

FRESH_FOR = 10.0
"""Seconds for which a Secret that was read is used again: a run looks at its steps ten times a second."""

MAX_KNOWN = 1024


class PolicySecrets:
    """Reads Secrets whole.

    Args:
        cluster: where they are read, past any cache.
        clock: age of what is known.
    """

    def __init__(self, *, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Mapping[str, bytes]]] = OrderedDict()

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Return the decoded entries.

        Raises:
            PromotionProblemError: it is not there, may not be read or is no Secret's data; says what to do.
            UnavailableError: it cannot be read now.
        """
        where = (namespace, name)
        known = self._known.get(where)
        if known is not None and self._clock.monotonic() - known[0] < FRESH_FOR:
            return known[1]
        self._known.pop(where, None)
        data = _decoded(await self._read(namespace, name), f"Secret {namespace}/{name}")
        self._known[where] = (self._clock.monotonic(), data)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return data

    async def _read(self, namespace: str, name: str) -> Mapping[str, Any]:
        try:
            return await self._cluster.get(SECRETS, namespace, name)
        except NotFoundError as error:
            raise PromotionProblemError(
                "SecretNotFound", f"Secret {namespace}/{name} does not exist: create it"
            ) from error
        except ForbiddenError as error:
            raise PromotionProblemError(
                "SecretForbidden",
                f"Regent's account may not read Secret {namespace}/{name}: add {namespace} to the setting "
                "secretNamespaces, or bind it a Role that may get this Secret",
            ) from error
        except ClusterError as error:
            raise UnavailableError(f"Secret {namespace}/{name} cannot be read now: {error}"[:300]) from error


def _decoded(secret: Mapping[str, Any], where: str) -> Mapping[str, bytes]:
    decoded = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            # Without the value: it is the secret.
            raise PromotionProblemError("SecretInvalid", f"{key} of {where} is not base64: write it anew") from None
    return decoded
