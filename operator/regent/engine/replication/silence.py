"""Whose fault it is that a write gets no answer: the target's, or that of the one object.

A webhook that hangs looks like an API server that hangs, but for what becomes of the other objects: where others are
written while one gets no answer, time after time, it is that one. Until that is known the others go first.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Silence(Generic[K]):
    """Remembers which objects got no answer, and how many others did since."""

    def __init__(self) -> None:
        self._answers = 0
        self._silent: dict[K, int] = {}
        self._guilty: set[K] = set()

    def answered(self, key: K) -> None:
        """A write of the object was answered, whatever the answer was."""
        self._answers += 1
        self._silent.pop(key, None)
        self._guilty.discard(key)

    def unanswered(self, key: K) -> bool:
        """A write of the object was not answered; say whether it is the object's fault."""
        before = self._silent.setdefault(key, self._answers)
        if self._answers > before:
            self._guilty.add(key)
        return key in self._guilty
