"""Each fault of a simulated region as a plain client sees it. A fault that does nothing fails its test."""

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RemoteSettingsChanged

from testbed.regions import Region, Regions, Scope


@pytest.fixture(scope="module")
def started_regions() -> Iterator[Regions]:
    with Regions(["eu", "us"], grpc_services=["shop.v1.Cart"], errors=1.0, free=80.0) as regions:
        yield regions


@pytest.fixture
def region(started_regions: Regions) -> Iterator[Region]:
    region = started_regions["eu"]
    yield region
    region.heal()


def connect(region: Region, *, timeout: float = 2.0) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(region.address, region.ports.http, timeout=timeout)


def get(region: Region, path: str = "/", *, timeout: float = 2.0) -> tuple[int, str, str | None]:
    connection = connect(region, timeout=timeout)
    try:
        return ask(connection, path)
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, path: str = "/") -> tuple[int, str, str | None]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.getheader("x-region")


def handshake(region: Region, regions: Regions, *, port: int, client_certificate: bool = False) -> str:
    """One HTTPS request with a verifying client; the answer's body."""
    context = ssl.create_default_context(cafile=str(region.ca))
    if client_certificate:
        context.load_cert_chain(regions.client_certificate)
    connection = http.client.HTTPSConnection(region.address, port, timeout=2.0, context=context)
    try:
        return ask(connection)[1]
    finally:
        connection.close()


def check(region: Region, service: str = "") -> int:
    """One gRPC health check with grpclib's client and the official messages."""

    async def ask_once() -> int:
        async with Channel(region.address, region.ports.grpc) as channel:
            return (await HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=2.0)).status

    return asyncio.run(ask_once())


def test_answers_name_the_region_and_the_health_body_carries_the_load(started_regions: Regions) -> None:
    for region in started_regions:
        assert get(region, "/shop") == (200, f"{region.name} /shop\n", region.name)
        status, body, header = get(region, "/healthz")
        assert (status, header) == (200, region.name)
        assert json.loads(body) == {"region": region.name, "status": "ok", "errors": 1.0, "free": 80.0}


def test_a_killed_region_refuses_and_resets_and_comes_back_on_the_same_port(region: Region) -> None:
    connection = connect(region)
    ask(connection)
    port = region.ports.http
    region.kill()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(connection)
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        get(region)
    region.heal()
    assert region.ports.http == port
    assert get(region)[0] == 200


def test_a_hung_region_accepts_and_does_not_answer_until_it_goes_on(region: Region) -> None:
    region.hang()
    connection = connect(region, timeout=0.2)
    connection.connect()  # the kernel accepts
    with pytest.raises(TimeoutError):
        ask(connection)
    connection.close()
    region.resume()
    assert get(region)[0] == 200


@pytest.mark.parametrize(
    ("scope", "health", "traffic"),
    [(Scope.ALL, 503, 503), (Scope.HEALTH, 503, 200), (Scope.TRAFFIC, 200, 503)],
)
def test_status_covers_its_scope(region: Region, scope: Scope, health: int, traffic: int) -> None:
    region.status(503, scope=scope)
    assert (get(region, "/healthz")[0], get(region)[0]) == (health, traffic)


def test_a_slow_region_answers_after_the_delay(region: Region) -> None:
    region.slow(300)
    with pytest.raises(TimeoutError):
        get(region, timeout=0.1)
    start = time.monotonic()
    assert get(region)[0] == 200
    assert time.monotonic() - start >= 0.3


def test_a_wrong_body_and_changed_load_figures(region: Region) -> None:
    region.load(errors=60, free=10)
    figures = json.loads(get(region, "/healthz")[1])
    assert (figures["errors"], figures["free"]) == (60.0, 10.0)
    region.body("not what you look for")
    assert get(region, "/healthz")[1] == "not what you look for"
    assert get(region)[1] == "eu /\n"
    region.heal()
    assert json.loads(get(region, "/healthz")[1])["errors"] == 1.0


def test_error_rate_is_an_exact_share(region: Region) -> None:
    region.error_rate(25, scope=Scope.TRAFFIC)
    connection = connect(region)
    statuses = [ask(connection)[0] for _ in range(40)]
    connection.close()
    assert statuses.count(500) == 10
    assert get(region, "/healthz")[0] == 200


def test_a_hang_up_gives_not_one_byte(region: Region) -> None:
    region.hang_up()
    with pytest.raises(http.client.RemoteDisconnected):
        get(region)


def test_idle_connections_are_closed_after_the_given_time_and_used_ones_are_kept(region: Region) -> None:
    connection = connect(region)
    ask(connection)
    region.idle_close(0.05)
    ask(connection)  # the connection outlived the change; its idle clock starts with this answer
    assert connection.sock is not None
    connection.sock.settimeout(2.0)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_idle_connections_are_closed_on_command(region: Region) -> None:
    connection = connect(region)
    ask(connection)
    region.close_idle_connections()
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()


def test_an_expired_certificate_is_an_ssl_error_for_new_connections_only(
    region: Region, started_regions: Regions
) -> None:
    context = ssl.create_default_context(cafile=str(region.ca))
    kept = http.client.HTTPSConnection(region.address, region.ports.https, timeout=2.0, context=context)
    assert ask(kept)[0] == 200
    region.expire_certificate()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(region, started_regions, port=region.ports.https)
    assert ask(kept)[0] == 200
    kept.close()
    region.renew_certificate()
    assert handshake(region, started_regions, port=region.ports.https) == "eu /\n"


def test_mutual_tls_wants_the_client_certificate(region: Region, started_regions: Regions) -> None:
    assert handshake(region, started_regions, port=region.ports.mtls, client_certificate=True) == "eu /\n"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(region, started_regions, port=region.ports.mtls)


def test_the_ca_of_one_run_is_not_trusted_by_default(region: Region) -> None:
    connection = http.client.HTTPSConnection(
        region.address, region.ports.https, timeout=2.0, context=ssl.create_default_context()
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(connection)
    connection.close()


def test_the_tcp_port_accepts_and_is_counted(region: Region) -> None:
    before = region.counters()["tcp"]
    with socket.create_connection((region.address, region.ports.tcp), timeout=2.0):
        deadline = time.monotonic() + 2.0
        while region.counters()["tcp"] == before and time.monotonic() < deadline:
            pass
    assert region.counters()["tcp"] == before + 1


def test_requests_are_counted_by_kind(region: Region) -> None:
    before = region.counters()
    get(region, "/healthz")
    get(region)
    get(region)
    after = region.counters()
    assert (after["health"] - before["health"], after["traffic"] - before["traffic"]) == (1, 2)


def test_grpc_health_by_service(region: Region) -> None:
    assert check(region) == HealthCheckResponse.SERVING
    assert check(region, "shop.v1.Cart") == HealthCheckResponse.SERVING
    region.not_serving("shop.v1.Cart")
    assert check(region, "shop.v1.Cart") == HealthCheckResponse.NOT_SERVING
    assert check(region) == HealthCheckResponse.SERVING
    with pytest.raises(GRPCError) as unknown:
        check(region, "shop.v1.Nothing")
    assert unknown.value.status is Status.NOT_FOUND
    region.heal()
    assert check(region, "shop.v1.Cart") == HealthCheckResponse.SERVING


def test_goaway_is_said_before_the_connection_ends_and_new_ones_work(region: Region) -> None:
    client = H2Connection()
    client.initiate_connection()
    with socket.create_connection((region.address, region.ports.grpc), timeout=2.0) as connection:
        connection.sendall(client.data_to_send())
        events = client.receive_data(connection.recv(65536))
        region.goaway()
        while data := connection.recv(65536):
            events += client.receive_data(data)
    assert any(isinstance(event, ConnectionTerminated) for event in events)
    assert check(region) == HealthCheckResponse.SERVING


def test_grpc_over_tls_speaks_http2_and_shows_the_certificate(region: Region) -> None:
    def first_event() -> object:
        context = ssl.create_default_context(cafile=str(region.ca))
        context.set_alpn_protocols(["h2"])
        client = H2Connection()
        client.initiate_connection()
        with (
            socket.create_connection((region.address, region.ports.grpcs), timeout=2.0) as plain,
            context.wrap_socket(plain, server_hostname=region.address) as connection,
        ):
            assert connection.selected_alpn_protocol() == "h2"
            connection.sendall(client.data_to_send())
            return client.receive_data(connection.recv(65536))[0]

    assert isinstance(first_event(), RemoteSettingsChanged)
    region.expire_certificate()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        first_event()


def test_faults_are_recorded_with_the_time_from_which_they_held(region: Region) -> None:
    before = time.monotonic()
    at = region.status(503)
    assert before <= at <= time.monotonic()
    assert (region.faults[-1].kind, region.faults[-1].time) == ("status", at)


def test_network_faults_need_a_namespace(region: Region) -> None:
    with pytest.raises(RuntimeError, match="no network namespace"):
        region.cut()


def test_a_command_that_makes_no_sense_is_refused_with_its_reason(region: Region) -> None:
    with pytest.raises(RuntimeError, match="no such command: 'dance'"):
        region._channel.ask({"do": "dance"})
    assert get(region)[0] == 200


def test_a_region_that_cannot_start_says_why(started_regions: Regions) -> None:
    taken = started_regions["eu"]
    second = Region("second", certificates=taken.certificates, ports=taken.ports)
    with pytest.raises(RuntimeError, match="address already in use"):
        second.start()
    second.close()


def test_extra_ports_answer_like_the_first() -> None:
    with Regions(["many"], extra_http_ports=3):
        for port in (20000, 20001, 20002):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
            assert ask(connection)[2] == "many"
            connection.close()
