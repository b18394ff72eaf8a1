"""A hub bridge and one network namespace per region, reachable from where the tests run.

The bridge lives in a namespace of its own, `hub`, and each region hangs on it by a veth. The process that made them
stays where it is and joins the bridge by one more veth (`host_address`). That is the simplest arrangement that holds:

- Operator, gateway, API server and tests keep talking to each other over 127.0.0.1 and dial the regions' real
  addresses, which EndpointSlices demand. Nothing has to be started inside the hub, though anything can be.
- The namespaces have no default route, and nobody forwards, so a region can reach only its own subnet.
- A bridge in the host itself would put frames between regions through the host's firewall (a container engine's rules
  drop them); in the hub there are none.
- Each instance has a /24 of its own (see `subnets`), so parallel test workers never see each other, and an
  `unreachable` route below it keeps packets from leaving by the host's default route after the link has gone.

Neighbour entries between host and regions are permanent: a cut link is then silence, as behind a router, not a
"no route to host" made by our own kernel, and healing does not wait for an ARP retry.

Needs root, or `python -m testbed.network -- COMMAND`, which enters user, network and mount namespaces of its own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from testbed.network.commands import ip, nft, require_tools_and_rights, run, tool
from testbed.network.faults import Action, Rule, RuleSet
from testbed.network.processes import spawn
from testbed.network.subnets import Subnet, claim, remove_namespace

_HUB, _HOST, _FIRST_REGION, _LAST_REGION = 1, 254, 2, 250
_CLONE_NEWNET = 0x40000000


class NetworkNamespace:
    """One region's (or vantage's) namespace. Every fault returns the monotonic time from which it holds."""

    def __init__(self, *, name: str, subnet: Subnet, host: int) -> None:
        self.name = name
        self.address = subnet.address(host)
        self.full_name = subnet.namespace_name(name)
        self._hub = subnet.namespace_name("hub")
        self._port = f"port{host}"
        self._rules = RuleSet()
        self._lock = threading.Lock()

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as to be executed inside; `ip netns exec` replaces itself, so the PID is the program's own."""
        return [tool("ip"), "netns", "exec", self.full_name, *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program inside; it dies with this process at the latest."""
        return spawn(
            self.command(argv), stdin=stdin, stdout=stdout, stderr=stderr, environment=environment, directory=directory
        )

    def run(self, argv: Sequence[str]) -> str:
        """Run a program inside to its end and return its output."""
        return run(self.command(argv))

    def listen(self) -> socket.socket:
        """A socket that listens at 127.0.0.1 inside, for a server that runs out here: it needs no link to be reached,
        as a neighbour within the region does not."""
        # In a thread of its own, which ends with it: a thread never comes back from a namespace by itself.
        with ThreadPoolExecutor(max_workers=1) as inside:
            return inside.submit(_listen_in, Path("/run/netns") / self.full_name).result()

    def cut(self) -> float:
        """Take the link down: silence for everybody, in both directions."""
        ip([f"link set {self._port} down"], namespace=self._hub)
        return time.monotonic()

    def drop(self, port: int | None = None, *, source: str | None = None) -> float:
        """Swallow packets that come in: all, or those to a TCP port, or those from one address."""
        return self._apply(Rule(action=Action.DROP, port=port, source=source))

    def refuse(self, port: int | None = None, *, source: str | None = None) -> float:
        """Answer TCP with a reset, as a closed port does; connections that are open are reset as well."""
        return self._apply(Rule(action=Action.REFUSE, port=port, source=source))

    def loss(self, percent: int, *, port: int | None = None, source: str | None = None) -> float:
        """Lose a share of the incoming packets at random."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be within 0 and 100, not {percent}")
        return self._apply(Rule(action=Action.LOSE, port=port, source=source, percent=percent))

    def heal(self) -> float:
        """Bring the link up and take all rules away."""
        with self._lock:
            self._rules.clear()
            nft(self._rules.statements(), namespace=self.full_name)
            ip([f"link set {self._port} up"], namespace=self._hub)
        return time.monotonic()

    def _apply(self, rule: Rule) -> float:
        with self._lock:
            self._rules.add(rule)
            nft(self._rules.statements(), namespace=self.full_name)
        return time.monotonic()


class NetworkNamespaces:
    """Context manager: a hub and a namespace for each name; `network["eu-west-1"]` is that region's.

    Everything is removed at the end of the block. What a killed run left is removed by the next one on this machine.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = tuple(names)
        self._members: dict[str, NetworkNamespace] = {}
        self._stack = ExitStack()
        self._subnet: Subnet | None = None

    def __enter__(self) -> NetworkNamespaces:
        require_tools_and_rights()
        with ExitStack() as stack:
            self._subnet = stack.enter_context(claim())
            self._build_hub(self._subnet, stack)
            for name in self._names:
                self._add(name, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._members.clear()

    def __getitem__(self, name: str) -> NetworkNamespace:
        return self._members[name]

    def get(self, name: str) -> NetworkNamespace | None:
        """The namespace of that name, if there is one."""
        return self._members.get(name)

    @property
    def subnet(self) -> Subnet:
        """The claimed subnet; only inside the block."""
        if self._subnet is None:
            raise RuntimeError("the network exists only inside its `with` block")
        return self._subnet

    @property
    def hub_address(self) -> str:
        """Address of the bridge, for programs that run inside the hub."""
        return self.subnet.address(_HUB)

    @property
    def host_address(self) -> str:
        """Our own address on the bridge: what runs beside the tests is reached from the regions by it."""
        return self.subnet.address(_HOST)

    def add(self, name: str) -> NetworkNamespace:
        """Add a namespace to the running network, say for another region or vantage."""
        return self._add(name, self._stack)

    def _build_hub(self, subnet: Subnet, stack: ExitStack) -> None:
        hub = subnet.namespace_name("hub")
        link = subnet.link_name
        stack.callback(remove_namespace, hub)
        run(["ip", "netns", "add", hub])
        # The route stands before the link does and goes after it, so that there is no moment at which a packet for
        # the subnet could take the default route. Its metric loses against the link's own route.
        run(["ip", "route", "add", "unreachable", str(subnet.network), "metric", "4096"])
        stack.callback(run, ["ip", "route", "del", "unreachable", str(subnet.network), "metric", "4096"])
        ip([f"link add {link} address {_mac(subnet, _HOST)} type veth peer name host netns {hub}"])
        stack.callback(run, ["ip", "link", "del", link])
        ip(
            [
                "link set lo up",
                "link add bridge type bridge",
                "link set bridge addrgenmode none",
                f"addr add {subnet.address(_HUB)}/24 dev bridge",
                "link set host addrgenmode none",
                "link set host master bridge",
                "link set host up",
                "link set bridge up",
            ],
            namespace=hub,
        )
        ip(
            [
                f"link set {link} addrgenmode none",
                f"addr add {subnet.address(_HOST)}/24 dev {link}",
                f"link set {link} up",
            ]
        )

    def _add(self, name: str, stack: ExitStack) -> NetworkNamespace:
        if name in self._members or name == "hub":
            raise ValueError(f"there is already a namespace named {name!r}")
        subnet = self.subnet
        host = _FIRST_REGION + len(self._members)
        if host > _LAST_REGION:
            raise ValueError(f"a network holds at most {_LAST_REGION - _FIRST_REGION + 1} namespaces")
        member = NetworkNamespace(name=name, subnet=subnet, host=host)
        hub, port, mac = subnet.namespace_name("hub"), f"port{host}", _mac(subnet, host)
        stack.callback(remove_namespace, member.full_name)
        run(["ip", "netns", "add", member.full_name])
        ip(
            [
                f"link add {port} type veth peer name eth0 address {mac} netns {member.full_name}",
                f"link set {port} addrgenmode none",
                f"link set {port} master bridge",
                f"link set {port} up",
            ],
            namespace=hub,
        )
        ip(
            [
                "link set lo up",
                "link set eth0 addrgenmode none",
                f"addr add {member.address}/24 dev eth0",
                "link set eth0 up",
                f"neigh replace {subnet.address(_HOST)} lladdr {_mac(subnet, _HOST)} dev eth0 nud permanent",
            ],
            namespace=member.full_name,
        )
        # Replaced, not added: somebody may have asked for this address already (an operator that still probes a region
        # of the scene before), and then the kernel keeps an entry of its own for it.
        ip([f"neigh replace {member.address} lladdr {mac} dev {subnet.link_name} nud permanent"])
        self._members[name] = member
        return member


def _listen_in(namespace: Path) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"the namespace {namespace} cannot be entered")
    finally:
        os.close(descriptor)
    return socket.create_server(("127.0.0.1", 0))


def _mac(subnet: Subnet, host: int) -> str:
    """A locally administered address made from the subnet and the host, so that both sides know it beforehand."""
    return f"02:77:00:00:{subnet.number:02x}:{host:02x}"
