"""A port that is free over TCP and UDP alike: a DNS server takes both."""

from __future__ import annotations

import socket


def free_port(address: str) -> int:
    """Port that nobody uses now at `address`; somebody may take it before the caller does."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind((address, 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind((address, port))
            except OSError:
                continue
            return port
