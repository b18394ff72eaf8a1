"""Patroni's configuration of one region, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

POSTGRESQL_PORT = 5432
PATRONI_PORT = 8008
APP_PORT = 8081
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
APP_ROLE = "shop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Passwords; the same in both regions, for each follows the other in turn."""

    superuser: str
    replication: str
    rewind: str
    rest_user: str
    rest_password: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one region's database lies; `directory` belongs to the user postgres."""

    directory: Path

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def socket(self) -> Path:
        """Directory of PostgreSQL's Unix socket: who can enter it needs no password."""
        return self.directory / "socket"

    @property
    def patroni(self) -> Path:
        return self.directory / "patroni.yml"

    def log(self, program: str) -> Path:
        return self.directory / f"{program}.log"


def patroni_settings(
    *,
    scope: str,
    name: str,
    address: str,
    layout: Layout,
    binaries: Path,
    secrets: Secrets,
    primary: str | None,
) -> dict[str, Any]:
    """Patroni's file. With `primary` (an address) the cluster is made as the standby cluster of the one there."""
    dynamic: dict[str, Any] = {
        "ttl": 20,
        "loop_wait": 1,
        "retry_timeout": 3,
        "maximum_lag_on_failover": 1048576,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": _parameters()},
    }
    if primary is not None:
        dynamic["standby_cluster"] = {
            "host": primary,
            "port": POSTGRESQL_PORT,
            "create_replica_methods": ["basebackup"],
        }
    return {
        "scope": scope,
        "name": name,
        "etcd3": {"hosts": [f"127.0.0.1:{ETCD_PORT}"]},
        "restapi": {
            "listen": f"0.0.0.0:{PATRONI_PORT}",
            "connect_address": f"{address}:{PATRONI_PORT}",
            "authentication": {"username": secrets.rest_user, "password": secrets.rest_password},
        },
        "bootstrap": {"dcs": dynamic, "initdb": [{"encoding": "UTF8"}, "data-checksums"]},
        "postgresql": {
            "listen": f"0.0.0.0:{POSTGRESQL_PORT}",
            "connect_address": f"{address}:{POSTGRESQL_PORT}",
            "data_dir": str(layout.data),
            "bin_dir": str(binaries),
            "pgpass": str(layout.directory / "pgpass"),
            "use_unix_socket": True,
            "authentication": {
                "superuser": {"username": "postgres", "password": secrets.superuser},
                "replication": {"username": "replicator", "password": secrets.replication},
                "rewind": {"username": "rewinder", "password": secrets.rewind},
            },
            "parameters": {"unix_socket_directories": str(layout.socket)},
            "pg_hba": [
                "local all all trust",
                # Patroni finds out the timeline of its own standby over a local replication connection.
                "host replication replicator 127.0.0.1/32 scram-sha-256",
                "host replication replicator 10.77.0.0/16 scram-sha-256",
                "host all all 10.77.0.0/16 scram-sha-256",
                "host all all 127.0.0.1/32 scram-sha-256",
            ],
        },
    }


def _parameters() -> dict[str, Any]:
    return {
        "wal_log_hints": "on",
        # The faults kill processes, never the machine, so what was written is there without waiting for a disk.
        "fsync": "off",
        "shared_buffers": "32MB",
        "max_connections": 50,
        "synchronous_commit": "on",
        # As in production. Nothing is restored from this archive, so nothing is kept in it; but Patroni takes a
        # second less to demote a primary that archives (docs/adr/0018).
        "archive_mode": "on",
        "archive_command": "true",
        # A primary that is shut down waits for its standby to have everything; a standby behind a cut link would
        # hold it up for a minute with the defaults.
        "wal_sender_timeout": "5s",
        "wal_receiver_timeout": "5s",
    }


def etcd_command(program: Path, layout: Layout) -> list[str]:
    """One member inside the region's namespace; nothing outside reaches it."""
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_PEER_PORT}"
    return [
        str(program),
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]
