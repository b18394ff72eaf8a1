"""What Patroni's REST API says about a cluster, and what may be concluded from it. Pure: no requests, no clock.

Sources: Patroni 4.1 `api.py` (`get_postgresql_status`, `_write_status_response`), `postgresql/misc.py` (states and
roles), `global_config.py` (`is_standby_cluster`). Answers come from outside, so every field may be missing or absurd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.roles import Role

FENCE_KEY = "regent"
"""Key of Patroni's dynamic configuration under which Regent leaves its fence. Patroni keeps keys that it does not know
and does nothing with them."""

HELD_KEY = "held"
"""Under `FENCE_KEY`, beside the fence: true while the region is held back."""

NOWHERE = "false"
"""`restore_command` of a region that is held back: a program that never finds an archived file. With it, and without a
host, Patroni runs a standby cluster that takes no writes, follows nobody and rewinds nothing."""

MAX_SNAPSHOT = 8 * 1024
_DOWN = frozenset({"stopped", "start failed", "crashed"})
"""States in which Patroni has looked and there is no postmaster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at the Patroni of a region."""

    name: str = ""
    """Of the member that answered."""
    state: str = ""
    role: str = ""
    recovering: bool | None = None
    """`pg_is_in_recovery()`; None: PostgreSQL did not answer a query."""
    position: int | None = None
    """Bytes of WAL: flushed (not in recovery) or replayed (in recovery)."""
    replayed_time: float | None = None
    """In recovery: when the last transaction that it has replayed was committed, seconds since the epoch by the clock
    of the primary that did; None: none since PostgreSQL was started."""
    streaming: bool = False
    """In recovery with a running WAL receiver. PostgreSQL starts one only after it has replayed all WAL of its own."""
    followers: frozenset[str] = frozenset()
    """Names of the members that PostgreSQL here streams to. It begins to stream only after it has found the follower's
    timeline in its own history."""
    timeline: int | None = None
    identifier: str = ""
    """`database_system_identifier`: equal in databases that are copies of one another."""
    paused: bool = False
    standby_of: Mapping[str, Any] | None = None
    """`standby_cluster` of the dynamic configuration, where it is one."""
    fence: Fence | None = None
    held: bool = False
    """It was held back (`HELD_KEY`), and has not been told to follow anybody since."""


def read_seen(status: Mapping[str, Any], config: Mapping[str, Any]) -> Seen:
    """Read the answers to `/health` and `/config`."""
    xlog = _mapping(status.get("xlog"))
    replayed, written = _whole(xlog.get("replayed_location")), _whole(xlog.get("location"))
    recovering = True if replayed is not None else False if written is not None else None
    standby = config.get("standby_cluster")
    ours = _mapping(config.get(FENCE_KEY))
    return Seen(
        name=str(_mapping(status.get("patroni")).get("name", ""))[:253],
        state=str(status.get("state", ""))[:64],
        role=str(status.get("role", ""))[:64],
        recovering=recovering,
        position=written if replayed is None else replayed,
        replayed_time=_time(xlog.get("replayed_timestamp")) if recovering else None,
        streaming=bool(recovering) and status.get("replication_state") == "streaming",
        followers=_followers(status.get("replication")),
        timeline=_whole(status.get("timeline")),
        identifier=str(status.get("database_system_identifier", ""))[:64],
        paused=bool(status.get("pause") or config.get("pause")),
        # As Patroni itself decides it: any of the three makes a standby cluster.
        standby_of=standby
        if isinstance(standby, dict) and any(standby.get(key) for key in ("host", "port", "restore_command"))
        else None,
        fence=parse_fence(str(ours.get("fence", ""))),
        held=ours.get(HELD_KEY) is True and isinstance(standby, dict) and not standby.get("host"),
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A role, and why."""

    role: Role
    message: str


def judge(seen: Seen) -> Judgement:
    """Say which role the region has.

    STANDBY is proof: PostgreSQL in recovery refuses every write, and while `standby_cluster` is set Patroni starts it
    in no other way. ACTIVE needs the end of recovery, which `/primary` alone does not tell.
    """
    what = f"{seen.name or 'PostgreSQL'} is {seen.role or 'without a role'}, {seen.state or 'state unknown'}"
    if seen.paused:
        what += ", Patroni is paused"
    if seen.recovering is False:
        if seen.standby_of is None:
            return Judgement(Role.ACTIVE, f"{what}, timeline {seen.timeline}")
        return Judgement(Role.CHANGING, f"{what}: it is to become a standby and may still take writes")
    if seen.standby_of is None:
        if seen.recovering:
            what += ": it is being promoted or kept from it, or the URL leads to a replica and not to the leader"
        return Judgement(Role.CHANGING, what)
    if seen.recovering and seen.role == "replica":
        # In a cluster of several members, another one may be the leader that is still being demoted.
        return Judgement(Role.CHANGING, f"{what}: not the leader of the standby cluster")
    if seen.held and (seen.recovering or seen.state in _DOWN):
        return Judgement(Role.STANDBY, f"{what}, is held back and follows nobody")
    if seen.recovering or seen.state in _DOWN:
        return Judgement(Role.STANDBY, f"{what}, follows {seen.standby_of.get('host') or 'an archive'}")
    return Judgement(Role.CHANGING, what)


def standby_snapshot(seen: Seen) -> dict[str, Any]:
    """Return what `restore` needs. Patroni shows this part of its configuration to everybody: no secret is in it."""
    return {"standbyCluster": dict(seen.standby_of) if seen.standby_of is not None else None}


def replacing(wanted: Mapping[str, Any] | None, current: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the merge patch that turns `current` into exactly `wanted`: PATCH merges, and null removes."""
    if wanted is None:
        return None
    return {**dict.fromkeys(current or {}), **wanted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the PostgreSQL of a cluster's leader is reached by its peers."""

    host: str
    port: int


def leader_address(cluster: Mapping[str, Any]) -> Address | None:
    """Read the answer to `/cluster`: `postgresql.connect_address` of the leader."""
    members = cluster.get("members")
    for member in members if isinstance(members, list) else ():
        if isinstance(member, dict) and member.get("role") in ("leader", "standby_leader"):
            host, port = member.get("host"), _whole(member.get("port", 5432))
            if isinstance(host, str) and 0 < len(host) <= 253 and port is not None and 0 < port < 65536:
                return Address(host=host, port=port)
    return None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One entry of the step's `clusters`."""

    region: str
    url: str
    host: str = ""
    port: int = 0
    slot: str = ""


@dataclass(frozen=True, slots=True)
class PatroniSettings:
    """The step's `patroni`, read once."""

    clusters: Mapping[str, ClusterSettings] = field(default_factory=dict)
    credentials: str = ""
    """Name of the Secret with `username` and `password`; "": none."""
    authority: str = ""
    """Name of the Secret with `ca.crt`; "": the system's trust store."""

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> PatroniSettings:
        """Read the member of the union as the API serves it."""
        clusters = {
            str(entry["region"]): ClusterSettings(
                region=str(entry["region"]),
                url=str(entry["url"]).rstrip("/"),
                host=str(entry.get("host") or ""),
                port=int(entry.get("port") or 0),
                slot=str(entry.get("primarySlotName") or ""),
            )
            for entry in settings.get("clusters") or ()
        }
        return cls(
            clusters=clusters,
            credentials=str((settings.get("credentialsSecretRef") or {}).get("name") or ""),
            authority=str((settings.get("caSecretRef") or {}).get("name") or ""),
        )


def _followers(replication: object) -> frozenset[str]:
    entries = [item for item in replication if isinstance(item, dict)] if isinstance(replication, list) else []
    return frozenset(
        str(item.get("application_name", ""))[:253]
        for item in entries[:1000]
        if item.get("state") in ("streaming", "catchup")
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _time(value: object) -> float | None:
    try:
        found = datetime.fromisoformat(str(value)[:40])
        # Without its offset it would be of a time zone that nobody knows.
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
