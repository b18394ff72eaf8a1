"""Questions to a DNS server that prove a cutover: `verification.url: dns://<server>/` (RFC 4501).

external-dns says that it has read an object before any server answers so, and a provider may take its time. So the
server is asked itself, the authoritative one or a resolver that clients use: the answer must be the records of the
regions that have a share.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from regent.adapters.egress.guard import refusal
from regent.adapters.probes.outcome import NameNotFoundError, NotTriedError
from regent.adapters.probes.resolve import Resolver
from regent.domain.traffic.dns import DnsMode, DnsRecords, canonical
from regent.domain.traffic.targets import TargetSpec

TIMEOUT = 1.0
"""Seconds for one question: finding the server's address, asking over UDP, and over TCP when the answer is long."""
PORT = 53
SHOWN = 5
"""Records of a wrong answer that are shown."""


class DnsVerifier:
    """The `Verifier` port over DNS.

    Args:
        allow_loopback: setting `egress.allowLoopback`.
        resolver: finds the address of a server that is given by name; default: one of its own.
    """

    def __init__(self, *, allow_loopback: bool, resolver: Resolver | None = None) -> None:
        self._allow_loopback = allow_loopback
        self._resolver = resolver or Resolver()

    async def check(self, target: TargetSpec, *, expected: frozenset[str]) -> str:
        """Ask once; see `Verifier.check`."""
        if target.verification is None or target.dns is None:
            return "no DNS records to verify"
        parts = urlsplit(target.verification.url)
        try:
            async with asyncio.timeout(TIMEOUT):
                address = await self._address(parts.hostname or "", parts.port or PORT)
                found = await _ask(address, parts.port or PORT, target.dns)
        except TimeoutError:
            return f"{parts.netloc} did not answer within {TIMEOUT:g} s"
        except _NoAnswerError as error:
            return f"{parts.netloc} {error}"[:200]
        return _judge(found, target.dns, expected)

    async def _address(self, host: str, port: int) -> str:
        try:
            found = await self._resolver.resolve(host, port, timeout=TIMEOUT)
        except (NameNotFoundError, NotTriedError) as error:
            raise _NoAnswerError(f"cannot be asked: {error}") from error
        address = str(found[0].sockaddr[0])
        refused = refusal(address, allow_loopback=self._allow_loopback)
        if refused:
            raise _NoAnswerError(f"is not asked: {refused}")
        return address


class _NoAnswerError(Exception):
    """There is no answer that could be judged; the text follows the server's name."""


async def _ask(address: str, port: int, records: DnsRecords) -> set[str]:
    """Return the records of the name as the server has them now; an empty set when it has none."""
    kind = dns.rdatatype.from_text(records.record_type)
    try:
        question = dns.message.make_query(records.hostname, kind)
        answer, _ = await dns.asyncquery.udp_with_fallback(question, address, port=port, timeout=TIMEOUT)
    except (dns.exception.DNSException, OSError, EOFError) as error:
        raise _NoAnswerError(f"gives no answer: {error or type(error).__name__}") from error
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _NoAnswerError(f"answers {dns.rcode.to_text(code)} for {records.hostname}")
    return {canonical(item.to_text()) for rrset in answer.answer if rrset.rdtype == kind for item in rrset}


def _judge(found: set[str], records: DnsRecords, expected: frozenset[str]) -> str:
    """Providers answer with one of several weighted record sets, and an alias is one name: these are among the wanted
    ones. Otherwise the answer is all of them."""
    wanted = {canonical(target) for region in expected for target in records.addresses.get(region, ())}
    one_of = records.mode is DnsMode.PROVIDER_WEIGHTED or records.record_type == "CNAME"
    if found and (found <= wanted if one_of else found == wanted):
        return ""
    shown = ", ".join(sorted(found)[:SHOWN]) or "nothing"
    return f"{records.hostname} {records.record_type} is {shown}, expected {', '.join(sorted(wanted)[:SHOWN])}"[:300]
