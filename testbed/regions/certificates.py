"""A private CA for the simulated regions: server certificates (one good, one expired) and client certificates."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Issues certificates as PEM files; `certificate` is the file that clients trust."""

    certificate: Path
    _key: ec.EllipticCurvePrivateKey
    _name: x509.Name

    @classmethod
    def create(cls, directory: Path) -> CertificateAuthority:
        """Make a new CA whose files go to `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject("Regent test bed CA")
        now = _now()
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key, not_before=now - _HOUR, not_after=now + 24 * _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        path = directory / "ca.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(path, key, name)

    def issue_server(self, path: Path, *, name: str, address: str, valid_for: datetime.timedelta = 24 * _HOUR) -> Path:
        """A server certificate and its key in one file; a negative `valid_for` gives one that has expired."""
        names: list[x509.GeneralName] = [
            x509.DNSName(name),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(address)),
        ]
        return self._issue(path, name, names, ExtendedKeyUsageOID.SERVER_AUTH, valid_for)

    def issue_client(self, path: Path, *, name: str) -> Path:
        """A client certificate and its key in one file, for mutual TLS."""
        return self._issue(path, name, [x509.DNSName(name)], ExtendedKeyUsageOID.CLIENT_AUTH, 24 * _HOUR)

    def _issue(
        self,
        path: Path,
        name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        valid_for: datetime.timedelta,
    ) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        end = _now() + valid_for
        certificate = (
            _builder(_subject(name), self._name, key, not_before=end - 48 * _HOUR, not_after=end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.touch(mode=0o600)
        path.write_bytes(pem)
        return path


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.UTC)
