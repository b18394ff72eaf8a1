"""The fence: what every write of a run carries, so that an old leader can be told from the present one.

`<epoch>.<leaseTransitions>.<sequence>`, compared as numbers from left to right. The epoch rises with every committed
run, the lease transitions with every change of leader, the sequence with every step of a run's journal: an epoch alone
would not stop an old leader inside the same run.
"""

from __future__ import annotations

from typing import NamedTuple

ANNOTATION = "regent.dev/fence"


class Fence(NamedTuple):
    """A fencing token. Greater is newer."""

    epoch: int
    transitions: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        """The annotation's text."""
        return f"{self.epoch}.{self.transitions}.{self.sequence}"


def parse_fence(text: str) -> Fence | None:
    """Read an annotation; None when it is absent or not a fence (somebody wrote it by hand)."""
    parts = text.split(".")
    if len(parts) != len(Fence._fields) or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return Fence(*(int(part[:18]) for part in parts))
