"""TLS as probes see it: who is trusted, under which name, with which certificate of our own."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from regent.adapters.probes.prober import ProbePool
from regent.domain.health.model import Outcome, ProbeSpec, TcpCheck, TlsOptions
from tests.fakes.certificates import Authority
from tests.fakes.probing import opened, probe_once, spec_for
from tests.fakes.wire import Peer, WireServer, answering, response, server_context, until

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("shop.example.com", "127.0.0.1")
CLIENT = AUTHORITY.issue("regent")
TRUSTED = TlsOptions(ca_pem=AUTHORITY.pem, server_name="shop.example.com")

both = pytest.mark.parametrize("adapter", ["http1", "httpx"])
each = pytest.mark.parametrize(("adapter", "check"), [("http1", None), ("httpx", None), ("http1", TcpCheck())])


@both
async def test_private_authority_sni_and_expiry(adapter: str) -> None:
    async with WireServer(answering(response()), tls=server_context(SERVER)) as server:
        async with opened(adapter, spec_for(server.port, tls=TRUSTED)) as endpoint:
            results = [await endpoint.probe(timeout=5, cold=cold) for cold in (False, False, True)]
        assert [result.outcome for result in results] == [Outcome.SUCCESS] * 3
        assert [result.reused for result in results] == [False, True, False]
        assert [result.certificate_expiry_time for result in results] == [SERVER.not_after] * 3
        assert server.server_names == ["shop.example.com"] * 2


@each
async def test_verified_by_address_without_a_server_name(adapter: str, check: TcpCheck | None) -> None:
    async with WireServer(answering(response()), tls=server_context(SERVER)) as server:
        result = await probe_once(adapter, spec_for(server.port, check, tls=replace(TRUSTED, server_name="")))
        assert result.outcome is Outcome.SUCCESS, result
        assert result.certificate_expiry_time == SERVER.not_after
        assert server.server_names == [None]


@each
@pytest.mark.parametrize(
    "tls",
    [
        replace(TRUSTED, ca_pem=Authority("another").pem),
        TlsOptions(server_name="shop.example.com"),
        replace(TRUSTED, server_name="other.example.com"),
    ],
    ids=["wrong-authority", "system-trust", "wrong-name"],
)
async def test_untrusted_server_is_refused(adapter: str, check: TcpCheck | None, tls: TlsOptions) -> None:
    async with WireServer(answering(response()), tls=server_context(SERVER)) as server:
        for cold in (False, True):
            result = await probe_once(adapter, spec_for(server.port, check, tls=tls), cold=cold)
            assert result.outcome is Outcome.REFUSED
            assert result.detail.startswith("TLS: certificate is not accepted")
        unverified = replace(tls, insecure_skip_verify=True)
        result = await probe_once(adapter, spec_for(server.port, check, tls=unverified))
        assert result.outcome is Outcome.SUCCESS
        assert result.certificate_expiry_time is None


@each
async def test_expired_certificate_is_refused(adapter: str, check: TcpCheck | None) -> None:
    expired = AUTHORITY.issue("shop.example.com", lifetime=datetime.timedelta(minutes=-1))
    async with WireServer(answering(response()), tls=server_context(expired)) as server:
        result = await probe_once(adapter, spec_for(server.port, check, tls=TRUSTED))
    assert result.outcome is Outcome.REFUSED
    assert "expired" in result.detail


@both
async def test_client_certificate(adapter: str) -> None:
    context = server_context(SERVER, client_ca=AUTHORITY.pem)
    mutual = replace(TRUSTED, client_certificate_pem=CLIENT.certificate, client_key_pem=CLIENT.key)
    stranger = Authority("stranger").issue("regent")
    wrong = replace(TRUSTED, client_certificate_pem=stranger.certificate, client_key_pem=stranger.key)
    async with WireServer(answering(response()), tls=context) as server:
        assert (await probe_once(adapter, spec_for(server.port, tls=mutual))).outcome is Outcome.SUCCESS
        for tls in (TRUSTED, wrong):
            result = await probe_once(adapter, spec_for(server.port, tls=tls))
            assert result.outcome is Outcome.REFUSED, result
            assert result.detail


@each
async def test_plain_server_is_refused(adapter: str, check: TcpCheck | None) -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port, check, tls=TRUSTED))
    assert result.outcome is Outcome.REFUSED
    assert result.detail.startswith("TLS: ")


@each
async def test_server_that_is_silent_in_the_handshake_is_a_timeout(adapter: str, check: TcpCheck | None) -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.read()

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port, check, tls=TRUSTED), timeout=1)
        assert result.outcome is Outcome.TIMEOUT
        await until(lambda: server.open_connections == 0)


@each
async def test_server_that_hangs_up_in_the_handshake_is_refused(adapter: str, check: TcpCheck | None) -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.reset()

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port, check, tls=TRUSTED))
    assert result.outcome is Outcome.REFUSED, result


@each
@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (TlsOptions(ca_pem="no certificate"), "CA bundle"),
        (replace(TRUSTED, client_certificate_pem=CLIENT.certificate), "needs both"),
        (replace(TRUSTED, client_certificate_pem=CLIENT.certificate, client_key_pem=SERVER.key), "do not match"),
        (replace(TRUSTED, client_certificate_pem="x", client_key_pem=CLIENT.key), "not PEM"),
    ],
    ids=["ca", "no-key", "other-key", "not-pem"],
)
async def test_unusable_material_is_a_message_when_opened(
    adapter: str, check: TcpCheck | None, tls: TlsOptions, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        await probe_once(adapter, spec_for(1, check, tls=tls))
    assert "BEGIN" not in str(caught.value)


async def test_contexts_are_shared_and_dropped() -> None:
    pool = ProbePool()

    def spec(port: int, tls: TlsOptions) -> ProbeSpec:
        return spec_for(port, tls=tls)

    mutual = replace(TRUSTED, client_certificate_pem=CLIENT.certificate, client_key_pem=CLIENT.key)
    opened_ones = [pool.open(spec(port, replace(TRUSTED, server_name=f"n{port}"))) for port in range(1, 30)]
    assert pool.tls_contexts == 1
    opened_ones.append(pool.open(spec(1, mutual)))
    opened_ones.append(pool.open(spec(1, replace(TRUSTED, insecure_skip_verify=True))))
    assert pool.tls_contexts == 3
    for endpoint in opened_ones:
        await endpoint.close()
    del opened_ones, endpoint
    assert pool.tls_contexts == 0
    await pool.close()
