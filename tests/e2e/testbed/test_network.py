"""Faults of the network as a plain client sees them, isolation, and what remains after a run was killed."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.network import NetworkNamespaces
from testbed.network.commands import NetworkError, tool
from testbed.network.processes import spawn, stop
from testbed.regions import Region, Regions

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def network() -> Iterator[NetworkNamespaces]:
    with NetworkNamespaces() as network:
        yield network


@pytest.fixture(scope="module")
def network_regions(network: NetworkNamespaces) -> Iterator[Regions]:
    with Regions(["eu", "us"], network=network) as regions:
        yield regions


@pytest.fixture
def networked(network_regions: Regions) -> Iterator[Region]:
    yield network_regions["eu"]
    network_regions.heal()


def fetch(region: Region, *, port: int | None = None, timeout: float = 0.3) -> str:
    connection = http.client.HTTPConnection(region.address, port or region.ports.http, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_regions_have_addresses_of_their_own(network_regions: Regions) -> None:
    assert [fetch(region) for region in network_regions] == ["eu /\n", "us /\n"]
    assert len({region.address for region in network_regions}) == 2


def test_a_killed_region_refuses(networked: Region) -> None:
    networked.kill()
    with pytest.raises(ConnectionRefusedError):
        fetch(networked)
    networked.heal()
    assert fetch(networked) == "eu /\n"


@pytest.mark.parametrize("fault", ["drop", "cut", "hang"])
def test_silence_is_a_timeout_and_ends_with_healing(networked: Region, network_regions: Regions, fault: str) -> None:
    getattr(networked, fault)()
    with pytest.raises(TimeoutError):
        fetch(networked)
    assert fetch(network_regions["us"]) == "us /\n"
    networked.heal()
    assert fetch(networked) == "eu /\n"


def test_a_cut_link_stays_silent_and_heals_at_once_however_long_it_was_down(
    networked: Region, network: NetworkNamespaces
) -> None:
    # What a long outage does to neighbours that the kernel has learned: it forgets them.
    subprocess.run(["ip", "neigh", "flush", "dev", network.subnet.link_name], check=True)
    network["eu"].run(["ip", "neigh", "flush", "dev", "eth0"])
    networked.cut()
    with pytest.raises(TimeoutError):  # never "no route to host" (after 3 s), which no client behind a router sees
        fetch(networked, timeout=4.0)
    networked.heal()
    assert fetch(networked) == "eu /\n"
    assert "PERMANENT" in network["eu"].run(["ip", "neigh", "show", network.host_address])


def test_a_region_can_be_added_at_an_address_that_somebody_asks_for_already() -> None:
    with NetworkNamespaces() as network:
        first = network.add("first").address
        asked = f"{first.rpartition('.')[0]}.{int(first.rpartition('.')[2]) + 1}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            # The kernel now keeps an entry for that neighbour, and looks for it.
            asker.sendto(b"anybody there?", (asked, 9))
        assert asked in subprocess.run(["ip", "neigh"], check=True, capture_output=True, text=True).stdout
        second = network.add("second")
        assert second.address == asked
        assert (
            "PERMANENT"
            in subprocess.run(
                ["ip", "neigh", "show", second.address], check=True, capture_output=True, text=True
            ).stdout
        )


def test_dropping_one_port_leaves_the_others(networked: Region) -> None:
    networked.drop(networked.ports.http)
    with pytest.raises(TimeoutError):
        fetch(networked)
    with socket.create_connection((networked.address, networked.ports.tcp), timeout=1.0):
        pass


def test_rejecting_is_a_reset_while_the_server_runs(networked: Region) -> None:
    networked.reject(networked.ports.http)
    with pytest.raises(ConnectionRefusedError):
        fetch(networked)
    assert networked.counters()["connections_open"] >= 0  # it still obeys


def test_a_fault_for_one_source_spares_the_others(
    networked: Region, network_regions: Regions, network: NetworkNamespaces
) -> None:
    networked.drop(source=network.host_address)
    with pytest.raises(TimeoutError):
        fetch(networked)
    us = network["us"]
    script = f"import urllib.request as u; print(u.urlopen('{networked.http_url}', timeout=2).read().decode())"
    assert "eu /" in us.run([sys.executable, "-c", script])


def test_all_packets_lost_is_silence_and_none_lost_is_none(networked: Region) -> None:
    networked.loss(100)
    with pytest.raises(TimeoutError):
        fetch(networked)
    networked.loss(0)
    assert fetch(networked) == "eu /\n"


def test_a_namespace_has_no_way_out(network: NetworkNamespaces, network_regions: Regions) -> None:
    routes = network["eu"].run(["ip", "route", "show"]).splitlines()
    assert len(routes) == 1
    assert routes[0].startswith(str(network.subnet.network))


def test_a_vantage_can_join_later(network: NetworkNamespaces, network_regions: Regions) -> None:
    vantage = network.add("vantage-b")
    script = f"import urllib.request as u; print(u.urlopen('{network_regions['us'].http_url}', timeout=2).status)"
    assert vantage.run([sys.executable, "-c", script]).strip() == "200"


def test_two_networks_live_side_by_side(network: NetworkNamespaces) -> None:
    with NetworkNamespaces(["eu"]) as other:
        assert other.subnet.number != network.subnet.number
        assert other["eu"].address != network["eu"].address


def test_nothing_is_left_after_the_block() -> None:
    with NetworkNamespaces(["eu"]) as network:
        names = [network["eu"].full_name, network.subnet.namespace_name("hub"), network.subnet.link_name]
        assert all(name in everything() for name in names)
    left = everything()
    assert not any(name in left for name in names)
    assert str(network.subnet.network) not in left


OWNER = """
import os, sys, time
from testbed.network import NetworkNamespaces
from testbed.regions import Regions
with NetworkNamespaces() as network, Regions(["eu"], network=network) as regions:
    print(network["eu"].full_name, regions["eu"].pid, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_leaves_is_removed_by_the_next() -> None:
    # Another test that makes a network in this very moment clears up too: then there is nothing to see, and once more.
    for _ in range(10):
        name = leave_behind()
        if name in everything():  # the namespaces stay …
            break
    else:
        raise AssertionError("what a killed run left was never to be seen")
    with NetworkNamespaces(["eu"]):  # … until somebody makes a network
        left = [line for line in everything().splitlines() if name in line]
    assert left == []


def leave_behind() -> str:
    """Kill a run that has a network and a region; return the name of its namespace. The region dies with its owner."""
    # The next run takes the subnet below, so it is not its own number that it has to clean up.
    with NetworkNamespaces():
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert owner.stdout is not None
        name, pid = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    wait_gone(int(pid))
    return name


def test_a_stopped_program_dies_with_the_network(network: NetworkNamespaces) -> None:
    with NetworkNamespaces(["eu"]) as other:
        sleeper = other["eu"].popen(["sleep", "60"])
        wait_executed(sleeper.pid, "sleep")
    assert sleeper.wait(timeout=5.0) == -signal.SIGKILL


def test_the_pid_is_the_programs_own_and_it_can_be_stopped(network: NetworkNamespaces, networked: Region) -> None:
    process = spawn(network["eu"].command(["sleep", "60"]))
    wait_executed(process.pid, "sleep")
    assert stop(process) == -signal.SIGTERM


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("testbed.network.commands._SYSTEM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NetworkError, match="apt-get install nftables"):
        tool("nft")


def everything() -> str:
    return "".join(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (["ip", "netns", "list"], ["ip", "-o", "link", "show"], ["ip", "route", "show"])
    )


def wait_executed(pid: int, program: str) -> None:
    """Wait until the process is the program itself, no longer one of those that lead to it."""
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] != program.encode():
        assert time.monotonic() < deadline, f"process {pid} did not become {program}"


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            continue
        return
    pytest.fail(f"process {pid} outlived its owner")
