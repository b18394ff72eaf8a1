"""What this machine can tell about itself, so that its own trouble is not taken for a region's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

_IPV4 = Path("/proc/net/route")
_IPV6 = Path("/proc/net/ipv6_route")
_UP = 0x1
_ANYWHERE_V4 = "00000000"
_ANYWHERE_V6 = "0" * 32


class HostSignals:
    """Implements `regent.engine.local_health.ControlSignals`.

    Args:
        contacts: each returns the monotonic time of an API client's last answer, None when it has had none.
    """

    def __init__(self, contacts: Sequence[Callable[[], float | None]]) -> None:
        self._contacts = contacts

    def api_contact(self) -> float | None:
        """Monotonic time of the API server's last answer to any client; None when there has been none yet."""
        return max((at for contact in self._contacts if (at := contact()) is not None), default=None)

    def default_route(self) -> bool | None:
        """Whether the machine has a default route; None when it cannot be told."""
        try:
            return _has_v4(_IPV4.read_text()) or _has_v6(_IPV6.read_text() if _IPV6.exists() else "")
        except (OSError, ValueError, IndexError):
            return None


def _has_v4(table: str) -> bool:
    """Look for destination and mask 0 in /proc/net/route (Iface Destination Gateway Flags … Mask)."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return any(row[1] == row[7] == _ANYWHERE_V4 and int(row[3], 16) & _UP for row in rows if row)


def _has_v6(table: str) -> bool:
    """Look for ::/0 on another interface than loopback in /proc/net/ipv6_route."""
    rows = [line.split() for line in table.splitlines()]
    return any(
        row[0] == _ANYWHERE_V6 and row[1] == "00" and row[9] != "lo" and int(row[8], 16) & _UP for row in rows if row
    )
