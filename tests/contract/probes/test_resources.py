"""What probes do to the machine, and what the machine does to probes: descriptors, ports, names, a late loop."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from regent.adapters.probes.prober import ProbePool
from regent.adapters.probes.resolve import Address, Addresses, Resolver
from regent.domain.health.model import GrpcCheck, HttpCheck, Outcome, ProbeSpec, TcpCheck, TlsOptions
from regent.engine.ports import EndpointProber
from tests.fakes.certificates import Authority
from tests.fakes.probing import opened, probe_once, spec_for
from tests.fakes.wire import (
    Peer,
    WireServer,
    answering,
    client_descriptors,
    open_descriptors,
    response,
    server_context,
    until,
    unused_port,
)

AUTHORITY = Authority()
TRUSTED = TlsOptions(ca_pem=AUTHORITY.pem)
CHECKS = pytest.mark.parametrize("check", [HttpCheck(), TcpCheck(), GrpcCheck()], ids=["http", "tcp", "grpc"])


async def test_tcp_probe() -> None:
    async with WireServer(answering(response())) as server, opened("http1", spec_for(server.port, TcpCheck())) as one:
        for cold in (False, True):
            result = await one.probe(timeout=2, cold=cold)
            assert (result.outcome, result.reused) == (Outcome.SUCCESS, False)
        assert server.connections == 2
    assert (await probe_once("http1", spec_for(unused_port(), TcpCheck()))).outcome is Outcome.REFUSED


@asynccontextmanager
async def every_outcome() -> AsyncIterator[list[ProbeSpec]]:
    """Specs that end in every way a probe can end."""

    async def silent(peer: Peer) -> None:
        await peer.reader.read()
        await peer.reader.read()

    async def resetting(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.reset()

    issued = AUTHORITY.issue("127.0.0.1")
    async with (
        WireServer(answering(response())) as good,
        WireServer(answering(response(), b"garbage\r\n\r\n")) as garbage,
        WireServer(answering(response(headers="Connection: close\r\n"))) as closing,
        WireServer(silent) as hanging,
        WireServer(resetting) as rude,
        WireServer(answering(response()), tls=server_context(issued)) as secure,
    ):
        ports = [good.port, garbage.port, closing.port, hanging.port, rude.port, unused_port()]
        specs = [spec_for(port, check) for port in ports for check in (HttpCheck(), TcpCheck(), GrpcCheck())]
        for port in (secure.port, good.port, hanging.port, rude.port):
            for tls in (TRUSTED, TlsOptions(), TlsOptions(insecure_skip_verify=True)):
                specs += [spec_for(port, check, tls=tls) for check in (HttpCheck(), TcpCheck(), GrpcCheck())]
        yield specs


async def test_a_thousand_probes_leave_no_descriptor_open() -> None:
    async with every_outcome() as specs:
        outcomes: set[Outcome] = set()
        # The servers' ends are in this process too, and close when the servers get to it.
        ports = {spec.port for spec in specs}
        before = client_descriptors(ports)
        pool = ProbePool()
        endpoints = [pool.open(spec) for spec in specs]

        # A few at a time: the servers share this loop, and a loop that is late excuses every time-out.
        room = asyncio.Semaphore(6)

        async def run(endpoint: EndpointProber) -> None:
            for number in range(-(-1000 // len(specs))):
                async with room:
                    outcomes.add((await endpoint.probe(timeout=0.15, cold=number % 3 == 2)).outcome)
            # One is given up in the middle, as when a region is deleted.
            task = asyncio.create_task(endpoint.probe(timeout=5, cold=True))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(run(endpoint) for endpoint in endpoints))
        for endpoint in endpoints:
            await endpoint.close()
        await pool.close()
        assert outcomes >= {Outcome.SUCCESS, Outcome.REFUSED, Outcome.TIMEOUT}
        await until(lambda: client_descriptors(ports) <= before, seconds=20)


async def test_failed_and_cold_probes_leave_no_time_wait() -> None:
    def waiting(port: int) -> set[str]:
        """The client ends, as local addresses, that wait for a server on this port number."""
        wanted = f":{port:04X}"
        with open("/proc/net/tcp") as file:  # noqa: PTH123
            lines = [line.split() for line in file]
        return {line[1] for line in lines if line[2].endswith(wanted) and line[3] == "06"}

    async with WireServer(answering(response())) as server:
        # A server of another test may have had the same port a moment ago: its clients' ends wait for a minute.
        before = waiting(server.port)
        for check in (HttpCheck(), TcpCheck(), GrpcCheck(), HttpCheck(expected_statuses=((404, 404),))):
            async with opened("http1", spec_for(server.port, check)) as endpoint:
                for _ in range(20):
                    await endpoint.probe(timeout=2, cold=True)
        assert server.connections == 80
        await until(lambda: server.open_connections == 0)
        assert waiting(server.port) <= before


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Use up every descriptor of the process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 8, limits[1]))
    held: list[socket.socket] = []
    try:
        while True:
            try:
                held.append(socket.socket())
            except OSError:
                break
        yield
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@CHECKS
async def test_no_descriptors_is_not_run(check: Any) -> None:
    async with (
        WireServer(answering(response())) as server,
        opened("http1", spec_for(server.port, check)) as literal,
        opened("http1", spec_for(server.port, check, host="localhost")) as named,
    ):
        with no_descriptors():
            for endpoint in (literal, named):
                result = await endpoint.probe(timeout=2, cold=True)
                assert result.outcome is Outcome.NOT_RUN, result
                assert result.detail


async def test_no_descriptors_for_the_key_is_not_run_and_heals() -> None:
    issued = AUTHORITY.issue("127.0.0.1")
    tls = TlsOptions(ca_pem=AUTHORITY.pem, client_certificate_pem=issued.certificate, client_key_pem=issued.key)
    async with WireServer(answering(response()), tls=server_context(issued)) as server:
        pool = ProbePool()
        with no_descriptors():
            endpoint = pool.open(spec_for(server.port, tls=tls))
            assert (await endpoint.probe(timeout=2, cold=False)).outcome is Outcome.NOT_RUN
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is Outcome.SUCCESS
        await endpoint.close()
        await pool.close()


@CHECKS
async def test_no_route_is_not_run(check: Any) -> None:
    # connect() itself turns this address down, as it does any other without a default route.
    result = await probe_once("http1", spec_for(80, check, host="255.255.255.255"))
    assert result.outcome is Outcome.NOT_RUN, result


class Names:
    """A name service that the test breaks."""

    def __init__(self, port: int) -> None:
        self.answer: Addresses | Exception = (Address(socket.AF_INET, ("127.0.0.1", port)),)
        self.asked = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, host: str, port: int) -> Addresses:
        self.asked += 1
        self.hold.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@asynccontextmanager
async def named(check: Any, *, fresh_for: float = 0.0) -> AsyncIterator[tuple[WireServer, Names, EndpointProber]]:
    async with WireServer(answering(response())) as server:
        names = Names(server.port)
        pool = ProbePool(resolver=Resolver(lookup=names, fresh_for=fresh_for))
        endpoint = pool.open(spec_for(server.port, check, host="shop.example.com"))
        try:
            yield server, names, endpoint
        finally:
            names.hold.set()
            await endpoint.close()
            await pool.close()


GONE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def test_name_service_gone_never_counts() -> None:
    async with named(HttpCheck()) as (_, names, endpoint):
        good, names.answer = names.answer, GONE
        assert (await endpoint.probe(timeout=1, cold=True)).outcome is Outcome.NOT_RUN
        names.answer = good
        assert (await endpoint.probe(timeout=1, cold=True)).outcome is Outcome.SUCCESS
        names.answer = GONE
        for cold in (True, False, False, True):
            assert (await endpoint.probe(timeout=1, cold=cold)).outcome is Outcome.SUCCESS


async def test_name_service_silent_never_counts() -> None:
    async with named(HttpCheck()) as (_, names, endpoint):
        names.hold.clear()
        assert (await endpoint.probe(timeout=0.1, cold=True)).outcome is Outcome.NOT_RUN
        names.hold.set()
        await until(lambda: names.asked > 0)
        assert (await endpoint.probe(timeout=1, cold=True)).outcome is Outcome.SUCCESS
        names.hold.clear()
        for _ in range(3):
            start = time.monotonic()
            assert (await endpoint.probe(timeout=0.2, cold=True)).outcome is Outcome.SUCCESS
            assert time.monotonic() - start < 2


async def test_name_that_does_not_exist_is_refused() -> None:
    async with named(HttpCheck()) as (_, names, endpoint):
        for cold in (True, False):
            names.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            result = await endpoint.probe(timeout=1, cold=cold)
            assert result.outcome is Outcome.REFUSED
            assert "does not exist" in result.detail


async def test_overlapping_lookups_are_one_and_an_answer_stays_fresh() -> None:
    async with named(TcpCheck(), fresh_for=60) as (_, names, endpoint):
        names.hold.clear()
        probes = [asyncio.create_task(endpoint.probe(timeout=5, cold=True)) for _ in range(20)]
        await until(lambda: names.asked == 1)
        names.hold.set()
        assert {result.outcome for result in await asyncio.gather(*probes)} == {Outcome.SUCCESS}
        await endpoint.probe(timeout=5, cold=True)
        assert names.asked == 1


async def test_next_address_is_tried_when_the_first_fails_or_is_silent() -> None:
    async with named(TcpCheck()) as (server, names, endpoint):
        loop_back = Address(socket.AF_INET, ("127.0.0.1", server.port))
        nobody = Address(socket.AF_INET, ("127.0.0.1", unused_port()))
        untried = Address(socket.AF_INET, ("255.255.255.255", 80))
        with deaf_listener() as deaf:
            before = open_descriptors()
            silent = Address(socket.AF_INET, deaf)
            for first in (nobody, untried, silent):
                names.answer = (first, loop_back)
                assert (await endpoint.probe(timeout=2, cold=True)).outcome is Outcome.SUCCESS, first
            # The attempt that lost the race is not left to the kernel, which would go on for two minutes.
            await until(lambda: open_descriptors() <= before)
            names.answer = (silent, nobody)
            assert (await endpoint.probe(timeout=0.6, cold=True)).outcome is Outcome.TIMEOUT
        names.answer = (nobody, untried)
        assert (await endpoint.probe(timeout=2, cold=True)).outcome is Outcome.REFUSED


@contextmanager
def deaf_listener() -> Iterator[tuple[str, int]]:
    """An address whose queue is full: SYNs are dropped, as by a firewall."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        try:
            yield listener.getsockname()
        finally:
            for caller in callers:
                caller.close()


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "fresh"])
async def test_blocked_loop_is_not_run(kept: bool) -> None:
    asked: list[bytes] = []

    async def handler(peer: Peer) -> None:
        async for request in peer.requests():
            asked.append(request)
            if kept and len(asked) == 1:
                await peer.send(response())

    async with WireServer(handler) as server, opened("http1", spec_for(server.port)) as endpoint:
        if kept:
            assert (await endpoint.probe(timeout=1, cold=False)).outcome is Outcome.SUCCESS
        probe = asyncio.create_task(endpoint.probe(timeout=0.4, cold=False))
        await until(lambda: len(asked) == 1 + kept)
        time.sleep(0.25)  # within the probe's time, over before its deadline
        assert (await probe).outcome is Outcome.NOT_RUN
        probe = asyncio.create_task(endpoint.probe(timeout=0.2, cold=True))
        await until(lambda: len(asked) == 2 + kept)
        time.sleep(0.5)  # across the deadline
        assert (await probe).outcome is Outcome.NOT_RUN
        assert (await endpoint.probe(timeout=0.6, cold=True)).outcome is Outcome.TIMEOUT


async def test_answer_that_waited_for_a_blocked_loop_is_a_success() -> None:
    async with WireServer(answering(response())) as server, opened("http1", spec_for(server.port)) as endpoint:
        assert (await endpoint.probe(timeout=1, cold=False)).outcome is Outcome.SUCCESS
        for _ in range(5):
            probe = asyncio.create_task(endpoint.probe(timeout=0.1, cold=False))
            await asyncio.sleep(0)
            time.sleep(0.15)
            # The server is blocked with us, so NotRun is as right as a success; a failure is not.
            assert (await probe).outcome in (Outcome.SUCCESS, Outcome.NOT_RUN)
