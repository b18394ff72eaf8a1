"""The client of a region's control channel (see `server.control` for what it understands)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

_TIMEOUT = 5.0


class ControlChannel:
    """Keeps one connection to a region's control socket and makes it anew after a restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._buffer = b""

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one command and return its answer.

        `RuntimeError` if it is refused, `TimeoutError` if the region hangs.
        """
        try:
            connection = self._connected()
            connection.sendall(json.dumps(command).encode() + b"\n")
            reply: dict[str, Any] = json.loads(self._line(connection))
        except (OSError, ValueError):
            self.close()  # an answer that comes too late must not be taken for that of the next command
            raise
        if "error" in reply:
            raise RuntimeError(f"the region refused {command}: {reply['error']}")
        return reply

    def close(self) -> None:
        """Drop the connection; the next command makes a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _connected(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_TIMEOUT)
            try:
                connection.connect(str(self.path))
            except OSError:
                connection.close()
                raise
            self._socket = connection
        return self._socket

    def _line(self, connection: socket.socket) -> bytes:
        while b"\n" not in self._buffer:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("the region closed its control channel")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
