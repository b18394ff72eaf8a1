"""`python -m testbed.regions.server`: plays one region until it is told to end.

Prints one line of JSON with its ports when every port is open. Ends with SIGTERM or when its owner dies.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

from testbed.regions.server.behaviour import Behaviour
from testbed.regions.server.control import Control
from testbed.regions.server.grpc import GrpcConnection
from testbed.regions.server.http import HttpConnection, TcpConnection

_BACKLOG = 1024
_FREE = range(21_000, 32_000)
"""Where free ports are looked for: below those that the kernel gives to outgoing connections, one of which could have
taken the port while the region was down, and it could not come back."""


class Certificates:
    """The server's TLS contexts; a changed certificate shows in every handshake from then on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.plain = self._context()
        self.mutual = self._context()
        self.mutual.verify_mode = ssl.CERT_REQUIRED
        self.mutual.load_verify_locations(directory / "ca.pem")
        self.http2 = self._context()
        self.http2.set_alpn_protocols(["h2"])
        self.use("valid")

    def use(self, which: str) -> None:
        if which not in {"valid", "expired"}:
            raise ValueError(f"no such certificate: {which!r}")
        for context in (self.plain, self.mutual, self.http2):
            context.load_cert_chain(self._directory / f"{which}.pem")

    @staticmethod
    def _context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A resumed session shows no certificate, so an expired one would go unseen.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        return context


async def serve(arguments: argparse.Namespace) -> None:
    """Open all ports, say so, and wait for SIGTERM."""
    loop = asyncio.get_running_loop()
    behaviour = Behaviour(region=arguments.name, errors=arguments.errors, free=arguments.free)
    behaviour.services.update(dict.fromkeys(arguments.grpc_service, True))
    certificates = Certificates(arguments.certificates)
    kinds: dict[str, tuple[Callable[[], asyncio.Protocol], ssl.SSLContext | None]] = {
        "http": (lambda: HttpConnection(behaviour), None),
        "https": (lambda: HttpConnection(behaviour), certificates.plain),
        "mtls": (lambda: HttpConnection(behaviour), certificates.mutual),
        "tcp": (lambda: TcpConnection(behaviour), None),
        "grpc": (lambda: GrpcConnection(behaviour), None),
        "grpcs": (lambda: GrpcConnection(behaviour), certificates.http2),
    }
    wanted = dict(pair.split("=", 1) for pair in arguments.ports.split(","))
    ports: dict[str, int] = {}
    for kind, (factory, context) in kinds.items():
        ports[kind] = await _open(factory, arguments.address, int(wanted[kind]), context)
    for number in range(arguments.extra_http_ports):
        await loop.create_server(
            kinds["http"][0], arguments.address, arguments.extra_http_base + number, backlog=_BACKLOG
        )
    control = Control(behaviour, use_certificate=certificates.use)
    arguments.control.unlink(missing_ok=True)
    await asyncio.start_unix_server(control.serve, arguments.control)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    sys.stdout.write(json.dumps({"ports": ports, "at": time.monotonic()}) + "\n")
    sys.stdout.flush()
    await stopped.wait()


async def _open(
    factory: Callable[[], asyncio.Protocol], address: str, port: int, context: ssl.SSLContext | None
) -> int:
    """Listen on `port`, or on any free one when it is 0; return which."""
    loop = asyncio.get_running_loop()
    for choice in [port] if port else random.sample(_FREE, 100):
        try:
            await loop.create_server(factory, address, choice, ssl=context, backlog=_BACKLOG)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
            continue
        return choice
    raise OSError(errno.EADDRINUSE, f"no free port on {address}")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m testbed.regions.server")
    parser.add_argument("--name", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--ports", required=True, help="http=8080,https=8443,… ; 0 takes a free one")
    parser.add_argument("--control", required=True, type=Path, help="path of the control channel's Unix socket")
    parser.add_argument("--certificates", required=True, type=Path, help="directory with ca, valid and expired .pem")
    parser.add_argument("--errors", type=float, default=0.0)
    parser.add_argument("--free", type=float, default=100.0)
    parser.add_argument("--grpc-service", action="append", default=[])
    parser.add_argument("--extra-http-ports", type=int, default=0)
    parser.add_argument("--extra-http-base", type=int, default=20000)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
