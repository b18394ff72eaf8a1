"""Gives each test network a /24 of 10.77.0.0/16 of its own, so that several live side by side.

The claim is an abstract Unix socket: it is unique within a network namespace, which is exactly where two equal subnets
would clash, and the kernel drops it when its holder dies. So a claim that can be had proves that nobody alive holds the
subnet, and whatever still carries its number is a leftover of a run that was killed.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from testbed.network.commands import NAMESPACE_DIRECTORY, NetworkError, run

_COUNT = 255
_PREFIX = "regent-testbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A claimed subnet: its number, and the names of what is built on it."""

    number: int
    owner_pid: int

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.77.{self.number}.0/24")

    @property
    def link_name(self) -> str:
        """The one interface that is visible outside the namespaces (at most 15 characters)."""
        return f"rgt{self.number}"

    def address(self, host: int) -> str:
        return str(self.network[host])

    def namespace_name(self, name: str) -> str:
        return f"{_PREFIX}-{self.number}-{self.owner_pid}-{name}"


@contextmanager
def claim() -> Iterator[Subnet]:
    """Hold a free subnet for the length of the block, after removing what dead runs have left behind."""
    _remove_leftovers_of_all()
    for number in range(_COUNT):
        holder = _hold(number)
        if holder is None:
            continue
        with holder:
            subnet = Subnet(number=number, owner_pid=os.getpid())
            _remove_leftovers(number)
            if _in_use_by_the_host(subnet):
                continue
            yield subnet
            return
    raise NetworkError("all 255 subnets of 10.77.0.0/16 are in use by other test runs or routed by this host")


def _hold(number: int) -> socket.socket | None:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0{_PREFIX}-{number}")
    except OSError as error:
        holder.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return holder


def _remove_leftovers_of_all() -> None:
    for number in sorted({number for number, _, _ in _existing()}):
        holder = _hold(number)
        if holder is not None:
            with holder:
                _remove_leftovers(number)


def _remove_leftovers(number: int) -> None:
    """Remove what carries a number that only we hold; a live owner in another network namespace keeps its own."""
    for found, pid, name in _existing():
        if found == number and not _alive(pid):
            remove_namespace(name)
    subnet = Subnet(number=number, owner_pid=0)
    with suppress(NetworkError):
        run(["ip", "link", "del", subnet.link_name])
    with suppress(NetworkError):
        run(["ip", "route", "del", "unreachable", str(subnet.network)])


def remove_namespace(name: str) -> None:
    """Kill what still runs inside a namespace and remove it; a namespace that is already gone is no error."""
    with suppress(NetworkError):
        for pid in run(["ip", "netns", "pids", name]).split():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
    with suppress(NetworkError):
        run(["ip", "netns", "del", name])


def _existing() -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    with suppress(FileNotFoundError):
        for path in NAMESPACE_DIRECTORY.iterdir():
            number, _, rest = path.name.removeprefix(f"{_PREFIX}-").partition("-")
            pid, _, _ = rest.partition("-")
            if path.name.startswith(f"{_PREFIX}-") and number.isdigit() and pid.isdigit():
                found.append((int(number), int(pid), path.name))
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _in_use_by_the_host(subnet: Subnet) -> bool:
    """Whether this machine already routes addresses of the subnet somewhere (a VPN, say), its default route aside."""
    for route in json.loads(run(["ip", "-4", "-json", "route", "show"]) or "[]"):
        destination = route["dst"]
        if destination != "default" and ipaddress.IPv4Network(destination, strict=False).overlaps(subnet.network):
            return True
    return False
