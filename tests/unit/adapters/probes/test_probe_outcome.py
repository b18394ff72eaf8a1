"""Which errors are the region's and which are ours."""

from __future__ import annotations

import errno
import ssl

import pytest

from regent.adapters.probes.outcome import NotTriedError, clean, failure
from regent.adapters.probes.resolve import MAX_ADDRESSES, Address, alternate, literal
from regent.domain.health.model import MAX_DETAIL, Outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError(errno.ECONNREFUSED, "x"), Outcome.REFUSED),
        (OSError(errno.ECONNRESET, "x"), Outcome.REFUSED),
        (OSError(errno.EPIPE, "x"), Outcome.REFUSED),
        (OSError(errno.EHOSTUNREACH, "x"), Outcome.REFUSED),
        (OSError(errno.ENETUNREACH, "x"), Outcome.REFUSED),
        (ssl.SSLError(1, "wrong version number"), Outcome.REFUSED),
        (ssl.SSLCertVerificationError("x"), Outcome.REFUSED),
        (ssl.SSLEOFError(8, "eof"), Outcome.REFUSED),
        (ValueError("odd"), Outcome.REFUSED),
        (OSError(errno.ETIMEDOUT, "x"), Outcome.TIMEOUT),
        (OSError(errno.EMFILE, "x"), Outcome.NOT_RUN),
        (OSError(errno.ENFILE, "x"), Outcome.NOT_RUN),
        (OSError(errno.ENOBUFS, "x"), Outcome.NOT_RUN),
        (OSError(errno.EADDRNOTAVAIL, "x"), Outcome.NOT_RUN),
        (OSError(errno.ENETDOWN, "x"), Outcome.NOT_RUN),
        (OSError(errno.EPERM, "x"), Outcome.NOT_RUN),
        (NotTriedError("no route"), Outcome.NOT_RUN),
    ],
)
def test_outcome(error: Exception, outcome: Outcome) -> None:
    result = failure(error, latency=0.1, timeout=2.0)
    assert result.outcome is outcome
    assert result.detail
    assert result.latency == {Outcome.TIMEOUT: 2.0, Outcome.NOT_RUN: 0.0}.get(outcome, 0.1)


def test_text_of_a_peer_is_made_harmless() -> None:
    assert clean("a\nb\x1b[31m") == "a b [31m"
    assert len(clean("x" * 1000)) == MAX_DETAIL


def test_families_take_turns() -> None:
    four = [Address(2, (f"192.0.2.{n}", 80)) for n in range(9)]
    six = [Address(10, (f"2001:db8::{n}", 80, 0, 0)) for n in range(2)]
    assert alternate([*six, *four]) == (six[0], four[0], six[1], four[1], four[2], four[3])
    assert len(alternate(four * 2)) == MAX_ADDRESSES
    assert alternate([]) == ()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1"), ("shop", None)],
)
def test_addresses_spelled_out_need_no_name_service(host: str, expected: str | None) -> None:
    found = literal(host, 80)
    assert (found and found[0].sockaddr[0]) == expected
