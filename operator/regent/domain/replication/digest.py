"""Whether source and target hold the same, told from hashes alone.

Objects are put into buckets by kind and namespace. Buckets with equal digests are equal; only the others are looked
into. The hashes are those that the caches have, so comparing costs no call to any API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regent.domain.replication.content import bucket_digest
from regent.domain.replication.model import ObjectKey

Bucket = tuple[str, str, str]
"""Group, kind and namespace. The version is left out: it may differ between clusters."""


@dataclass(frozen=True, slots=True)
class BucketDigest:
    """What a region tells about a bucket when nothing else may leave it."""

    count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What comparing said. Keys are those of the copies."""

    buckets: int
    """Buckets that were compared."""
    opened: int
    """Buckets that were different and looked into."""
    missing: tuple[ObjectKey, ...] = ()
    """In the source only."""
    surplus: tuple[ObjectKey, ...] = ()
    """In the target only."""
    different: tuple[ObjectKey, ...] = ()
    """In both, with unequal content."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same."""
        return not (self.missing or self.surplus or self.different)


def digests(hashes: Mapping[ObjectKey, str]) -> dict[Bucket, BucketDigest]:
    """Return the digest of each bucket: all that strategy Local lets out of a region."""
    return {bucket: BucketDigest(len(items), bucket_digest(items)) for bucket, items in _buckets(hashes).items()}


def verify(source: Mapping[ObjectKey, str], target: Mapping[ObjectKey, str]) -> Verification:
    """Compare what should be in a target (`Desired.key` and `Desired.content_hash`) with what is there
    (`plan.copy_hash`)."""
    left, right = _buckets(source), _buckets(target)
    names = sorted(left.keys() | right.keys())
    missing: list[ObjectKey] = []
    surplus: list[ObjectKey] = []
    different: list[ObjectKey] = []
    opened = 0
    for bucket in names:
        ours, theirs = left.get(bucket, {}), right.get(bucket, {})
        if bucket_digest(ours) == bucket_digest(theirs):
            continue
        opened += 1
        here, there = ({key.name: key for key in side} for side in (ours, theirs))
        missing += (key for name, key in here.items() if name not in there)
        surplus += (key for name, key in there.items() if name not in here)
        different += (key for name, key in here.items() if name in there and ours[key] != theirs[there[name]])
    return Verification(
        buckets=len(names),
        opened=opened,
        missing=tuple(sorted(missing)),
        surplus=tuple(sorted(surplus)),
        different=tuple(sorted(different)),
    )


def unequal(here: Mapping[Bucket, BucketDigest], there: Mapping[Bucket, BucketDigest]) -> tuple[Bucket, ...]:
    """Return the buckets in which two regions differ, as far as their digests tell. The namespace counts: give both
    sides the same one where it is mapped."""
    return tuple(bucket for bucket in sorted(here.keys() | there.keys()) if here.get(bucket) != there.get(bucket))


def _buckets(hashes: Mapping[ObjectKey, str]) -> dict[Bucket, dict[ObjectKey, str]]:
    found: dict[Bucket, dict[ObjectKey, str]] = {}
    for key, value in hashes.items():
        found.setdefault((*key.kind.group_kind, key.namespace), {})[key] = value
    return found
