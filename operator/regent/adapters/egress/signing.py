"""Signatures of requests, as the Standard Webhooks specification 1.0.0 has them (symmetric scheme, `v1`).

The signed text is `{webhook-id}.{webhook-timestamp}.{body}`; the signature header lists one `v1,<base64>` for each
key, so that a key can be changed without a gap: the receiver takes the request when any of them fits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence

MIN_KEY, MAX_KEY = 24, 64
"""Bytes of a key: what the specification asks for (192 to 512 bits)."""

MAX_KEYS = 4
PREFIX = b"whsec_"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def parse_keys(value: bytes) -> tuple[bytes, ...]:
    """Return the keys in the value of a Secret: `whsec_` and base64, several of them (newest first) with white space
    between, or else one key as it stands, without white space around it.

    Raises:
        ValueError: says what is wrong, without a word of the value.
    """
    stripped = value.strip()
    if not stripped.startswith(PREFIX):
        return (_sized(stripped),)
    parts = stripped.split()
    if len(parts) > MAX_KEYS:
        raise ValueError(f"it holds more than {MAX_KEYS} keys")
    return tuple(map(_decoded, parts))


def _decoded(part: bytes) -> bytes:
    text = part.removeprefix(PREFIX)
    try:
        # Padding may be missing, as in the specification's own libraries.
        return _sized(base64.b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True))
    except binascii.Error:
        raise ValueError("after whsec_ it is not base64") from None


def _sized(key: bytes) -> bytes:
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise ValueError(f"a signing key has {MIN_KEY} to {MAX_KEY} bytes, this one has {len(key)}")
    return key


def check_id(message_id: str) -> str:
    """Return `message_id`; ValueError when it has characters that could blur the signed text, such as a full stop."""
    if _ID.fullmatch(message_id) is None:
        raise ValueError("an idempotency key has 1 to 128 characters of A-Z, a-z, 0-9, _ and -")
    return message_id


def signed_headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers that identify a request and, when there are keys, prove who sent it.

    Args:
        message_id: the same for every try of the same message.
        timestamp: time of this try, in seconds since the epoch.
        body: exactly the bytes that are sent.
        keys: raw keys; none: the request is not signed.
    """
    headers = {"webhook-id": check_id(message_id), "webhook-timestamp": str(timestamp)}
    if keys:
        text = f"{message_id}.{timestamp}.".encode() + body
        signatures = (hmac.new(key, text, hashlib.sha256).digest() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures)
    return headers
