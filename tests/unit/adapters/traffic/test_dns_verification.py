"""Whether DNS answers what was decided: asked over real sockets, of a server that says what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from regent.adapters.traffic.dns_verification import DnsVerifier
from regent.domain.traffic.dns import DnsMode, DnsRecords
from regent.domain.traffic.targets import DNS_ENDPOINT, TargetSpec, VerificationSpec

HOST = "shop.example.com"
ADDRESSES = {"eu": ("192.0.2.1",), "us": ("192.0.2.2", "192.0.2.3")}
Answering = Callable[[dns.message.Message], dns.message.Message]


class Server(asyncio.DatagramProtocol):
    """Answers questions over UDP; a truncated answer is asked for again over TCP, where nobody listens."""

    def __init__(self) -> None:
        self.answer: Answering | None = None
        self.records: dict[str, list[str]] = {}
        self.transport: asyncio.DatagramTransport
        self.questions = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions += 1
        question = dns.message.from_wire(data)
        if self.answer is not None:
            self.transport.sendto(self.answer(question).to_wire(), addr)
            return
        reply = dns.message.make_response(question)
        for kind, records in self.records.items():
            reply.answer.append(dns.rrset.from_text(HOST + ".", 5, "IN", kind, *records))
        self.transport.sendto(reply.to_wire(), addr)

    @property
    def url(self) -> str:
        return f"dns://127.0.0.1:{self.transport.get_extra_info('sockname')[1]}/"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    yield protocol
    transport.close()


def target(url: str, kind: str = "A", mode: DnsMode = DnsMode.EXCLUSIVE, **addresses: tuple[str, ...]) -> TargetSpec:
    records = DnsRecords(hostname=HOST, record_type=kind, ttl=5, addresses=addresses or ADDRESSES, mode=mode)
    return TargetSpec(kind=DNS_ENDPOINT, name="d", dns=records, verification=VerificationSpec(url=url))


async def check(server: Server, *expected: str, loopback: bool = True, **options: object) -> str:
    verifier = DnsVerifier(allow_loopback=loopback)
    return await verifier.check(target(server.url, **options), expected=frozenset(expected))  # type: ignore[arg-type]


async def test_all_records_of_the_regions_with_a_share_and_no_other(server: Server) -> None:
    server.records = {"A": ["192.0.2.3", "192.0.2.2"]}
    assert await check(server, "us") == ""
    assert "expected 192.0.2.1" in await check(server, "eu")
    assert "expected" in await check(server, "eu", "us"), "a region with a share is missing"
    server.records = {"A": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}
    assert "expected" in await check(server, "us"), "the old region is still in the answer"
    server.records = {"A": ["192.0.2.2"]}
    assert "expected" in await check(server, "us"), "half of a region's addresses are not there yet"


async def test_a_provider_answers_with_one_of_its_weighted_sets(server: Server) -> None:
    server.records = {"A": ["192.0.2.2", "192.0.2.3"]}
    assert await check(server, "eu", "us", mode=DnsMode.PROVIDER_WEIGHTED) == ""
    assert "expected" in await check(server, "eu", mode=DnsMode.PROVIDER_WEIGHTED)


async def test_names_and_addresses_are_compared_as_dns_does(server: Server) -> None:
    server.records = {"CNAME": ["EU.Example.com."]}
    assert await check(server, "eu", kind="CNAME", eu=("eu.example.com",)) == ""
    server.records = {"AAAA": ["2001:db8::1"]}
    assert await check(server, "eu", kind="AAAA", eu=("2001:0DB8:0:0::1",)) == ""


async def test_what_is_no_answer_is_never_taken_for_one(server: Server) -> None:
    assert f"{HOST} A is nothing" in await check(server, "eu")

    def failing(question: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(question)
        reply.set_rcode(dns.rcode.SERVFAIL)
        return reply

    def truncated(question: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.TC
        return reply

    def another(question: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(question)
        reply.id = (question.id + 1) % 65536
        reply.answer.append(dns.rrset.from_text(HOST + ".", 5, "IN", "A", "192.0.2.1"))
        return reply

    server.answer = failing
    assert "SERVFAIL" in await check(server, "eu")
    server.answer = truncated
    assert "gives no answer" in await check(server, "eu")
    server.answer = another
    assert await check(server, "eu"), "an answer to a question that was not asked"


async def test_a_server_that_does_not_answer_is_waited_for_a_second(server: Server) -> None:
    url = server.url
    server.transport.close()
    began = asyncio.get_running_loop().time()
    assert await DnsVerifier(allow_loopback=True).check(target(url), expected=frozenset({"eu"}))
    assert asyncio.get_running_loop().time() - began < 2.5


async def test_the_guard_of_addresses_holds_for_dns_servers_too(server: Server) -> None:
    assert "egress.allowLoopback" in await check(server, "eu", loopback=False)
    metadata = target("dns://169.254.169.254/")
    assert "is not asked" in await DnsVerifier(allow_loopback=True).check(metadata, expected=frozenset({"eu"}))
    assert server.questions == 0
