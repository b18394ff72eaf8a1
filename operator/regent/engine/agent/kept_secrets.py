"""Secrets that an agent has read once and can still use when its region's API server does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from regent.domain.errors import UnavailableError


class Secrets(Protocol):
    """Where they are read."""

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Return the decoded entries; PromotionProblemError or UnavailableError when that is not possible."""
        ...


class KeptSecrets:
    """Reads Secrets, and remembers the last answer for as long as there is no newer one. In memory only."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._kept: dict[tuple[str, str], Mapping[str, bytes]] = {}

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Return the decoded entries, as they are or were; raises as the Secrets underneath do."""
        try:
            self._kept[namespace, name] = await self._secrets.data(namespace, name)
        except UnavailableError:
            if (namespace, name) not in self._kept:
                raise
        return self._kept[namespace, name]
