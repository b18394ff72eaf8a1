"""TLS contexts for probes, shared between probes with equal material: one context costs 0.8 MB.

Keys stay in memory: the library only loads a key from a file, so it is given an anonymous one that has no name on any
disk and is gone when the load is done.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import weakref

from regent.domain.health.model import TlsOptions

_Key = tuple[bytes, bytes, bool, str]


class TlsContexts:
    """Makes client contexts and hands out the same one for equal (CA, client certificate, verification, protocol).

    A context that no probe holds any more is dropped.
    """

    def __init__(self) -> None:
        self._contexts: weakref.WeakValueDictionary[_Key, ssl.SSLContext] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, options: TlsOptions, *, protocol: str) -> ssl.SSLContext:
        """Return a context for `options` that offers `protocol` (ALPN; "" offers none).

        ValueError with a message for the user when a certificate or key is unusable.
        """
        client = _digest(options.client_certificate_pem, options.client_key_pem)
        key = (_digest(options.ca_pem), client, options.insecure_skip_verify, protocol)
        context = self._contexts.get(key)
        if context is None:
            context = _make(options, protocol)
            self._contexts[key] = context
        return context


def certificate_expiry(peer: ssl.SSLObject | ssl.SSLSocket | None) -> float | None:
    """Return when the peer's certificate ends, in seconds since the epoch; None without TLS or verification."""
    certificate = peer.getpeercert() if peer is not None else None
    not_after = certificate.get("notAfter") if certificate else None
    return float(ssl.cert_time_to_seconds(not_after)) if isinstance(not_after, str) else None


def _digest(*texts: str) -> bytes:
    return b"".join(hashlib.sha256(text.encode()).digest() for text in texts)


def _make(options: TlsOptions, protocol: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=options.ca_pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("the CA bundle holds no usable PEM certificate") from error
    if options.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    if bool(options.client_certificate_pem) != bool(options.client_key_pem):
        raise ValueError("a client certificate needs both the certificate and its key")
    if options.client_certificate_pem:
        _load_client_certificate(context, options)
    return context


def _load_client_certificate(context: ssl.SSLContext, options: TlsOptions) -> None:
    handle = os.memfd_create("regent-client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{options.client_certificate_pem}\n{options.client_key_pem}\n".encode())
            file.flush()
            # An empty pass phrase, because without one the library would ask for it on the terminal.
            context.load_cert_chain(f"/proc/self/fd/{handle}", password="")
    except (ssl.SSLError, ValueError) as error:
        # The library's own text is left out: it says nothing that helps, and must never quote a key.
        raise ValueError("the client certificate and its key are not PEM, are encrypted, or do not match") from error
