"""The control plane's certificates in a real TLS handshake, and the kubeconfig that carries them."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from testbed.controlplane.certificates import CertificateAuthority, KeyPair, signing_keys
from testbed.controlplane.kubeconfig import Access


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority(common_name="test")


def handshake(
    authority: CertificateAuthority, server: KeyPair, client: KeyPair, tmp_path: Path, *, host: str
) -> object:
    """One connection over a socket pair; gives the subject that the server saw."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*server.write(tmp_path, "server"))
    serving.load_verify_locations(cadata=authority.certificate.decode())
    serving.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cadata=authority.certificate.decode())
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    calling.load_cert_chain(*client.write(tmp_path, "client"))
    left, right = socket.socketpair()
    left.settimeout(10)
    right.settimeout(10)
    seen: list[object] = []

    def serve() -> None:
        try:
            with serving.wrap_socket(left, server_side=True) as connection:
                seen.append(connection.getpeercert())
                connection.sendall(b"x")
        except OSError as error:  # ssl.SSLError too: the client's side reports it
            seen.append(error)
        finally:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with calling.wrap_socket(right, server_hostname=host) as connection:
            assert connection.recv(1) == b"x"
    finally:
        right.close()
        thread.join(timeout=10)
    return seen[0]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.77.1.2"])
def test_server_and_client_accept_each_other(authority: CertificateAuthority, tmp_path: Path, host: str) -> None:
    server = authority.server(names=["localhost"], addresses=["127.0.0.1", "10.77.1.2", "127.0.0.1"])
    client = authority.client(user="admin", groups=["system:masters", "people"])
    seen = handshake(authority, server, client, tmp_path, host=host)
    assert isinstance(seen, dict)
    subject = [pair for names in seen["subject"] for pair in names]
    assert ("commonName", "admin") in subject
    assert [value for name, value in subject if name == "organizationName"] == ["system:masters", "people"]


def test_another_name_is_refused(authority: CertificateAuthority, tmp_path: Path) -> None:
    server = authority.server(names=["localhost"], addresses=["127.0.0.1"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, server, authority.client(user="a"), tmp_path, host="127.0.0.2")


def test_a_client_certificate_is_no_server_certificate(authority: CertificateAuthority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, authority.client(user="localhost"), authority.client(user="a"), tmp_path, host="localhost")


def test_a_client_of_another_authority_is_refused(authority: CertificateAuthority, tmp_path: Path) -> None:
    server = authority.server(names=["localhost"], addresses=["127.0.0.1"])
    stranger = CertificateAuthority(common_name="test").client(user="admin", groups=["system:masters"])
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        handshake(authority, server, stranger, tmp_path, host="localhost")


def test_the_authority_may_sign_and_the_leaves_may_not(authority: CertificateAuthority) -> None:
    for pem, expected in ((authority.certificate, True), (authority.client(user="a").certificate, False)):
        constraints = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value.ca is expected


def test_signing_keys_belong_together() -> None:
    private, public = signing_keys()
    assert private.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert load_pem_private_key(private, None).public_key() == load_pem_public_key(public)


def test_keys_and_kubeconfigs_are_for_their_owner_only(authority: CertificateAuthority, tmp_path: Path) -> None:
    _, key = authority.client(user="a").write(tmp_path, "a")
    access = Access(server="https://127.0.0.1:1", authority=authority.certificate, token="t")
    for path in (key, access.write(tmp_path / "sub" / "k.yaml", name="x")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("token", [None, "secret"])
def test_a_kubeconfig_is_read_as_it_was_written(
    authority: CertificateAuthority, tmp_path: Path, token: str | None
) -> None:
    client = None if token else authority.client(user="a")
    access = Access(server="https://127.0.0.1:6443", authority=authority.certificate, client=client, token=token)
    path = access.write(tmp_path / "kubeconfig", name="x", namespace="ns")
    assert Access.read(path) == access
    assert "namespace: ns" in path.read_text()
