"""What an object says, as bytes and as a hash that is the same in every process and on every machine.

Hashes stand in annotations of copies, so their form is part of what is stored: sorted keys, no spaces, UTF-8, SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from regent.domain.replication.model import ObjectKey

MAX_OBJECT_BYTES = 3 * 1024 * 1024
"""What an API server takes in one request (its default MaxRequestBodyBytes); etcd refuses from 1.5 MiB, after the
object was encoded, which cannot be told from here."""
MAX_DEPTH = 100
"""Deepest nesting of maps and lists; deeper ones are not copied, because every walk over them would have to be bounded
anew."""


def canonical(obj: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of an object."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def content_hash(obj: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON, in hexadecimal. The same for equal objects, whatever the order of keys.

    Give it a normalised object: what differs between clusters by nature must be gone.
    """
    return hashlib.sha256(canonical(obj)).hexdigest()


def bucket_digest(hashes: Mapping[ObjectKey, str] | Mapping[str, str]) -> str:
    """Return one hash over the hashes of a bucket (kind and namespace); equal buckets have equal digests.

    The namespace is left out of what is hashed, because it may be mapped; an object's name and hash are in it.
    """
    names: Iterable[tuple[str, str]] = (
        (key.name if isinstance(key, ObjectKey) else key, value) for key, value in hashes.items()
    )
    digest = hashlib.sha256()
    for name, value in sorted(names):
        digest.update(f"{len(name)}:{name}={value}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def too_deep(value: Any, *, limit: int = MAX_DEPTH) -> bool:
    """Whether maps and lists are nested deeper than `limit`. Walks without recursion, so that it cannot fail itself."""
    level, layer = 0, [value]
    while layer:
        if level >= limit:
            return True
        children: list[Any] = []
        for item in layer:
            if isinstance(item, Mapping):
                children.extend(child for child in item.values() if isinstance(child, Mapping | list))
            elif isinstance(item, list):
                children.extend(child for child in item if isinstance(child, Mapping | list))
        level, layer = level + 1, children
    return False
