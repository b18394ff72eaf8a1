"""The database of one region: etcd, Patroni, PostgreSQL and the writer service, and everything that can befall them.

Faults that are only the network's are the namespace's (`namespace.cut()`); here are those of the processes. PostgreSQL
is Patroni's grandchild and outlives it, as in production: `kill` ends both, `kill_patroni` only the one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed.database.environment import USER, DatabaseError
from testbed.database.settings import (
    APP_PORT,
    APP_ROLE,
    PATRONI_PORT,
    POSTGRESQL_PORT,
    Layout,
    Secrets,
    etcd_command,
    patroni_settings,
)
from testbed.network import NetworkNamespace, spawn
from testbed.network.commands import tool
from testbed.network.processes import stop
from testbed.toolchain.progress import Progress

_APP = Path(__file__).with_name("app.py")
_POLL = 0.02
_HTTP_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What is started: etcd's program, and the directories of Patroni's and PostgreSQL's programs."""

    etcd: Path
    patroni: Path
    postgresql: Path


class Database:
    """A region's database. `launch` it, wait with `wait_role`; faults return the monotonic time at which they held."""

    def __init__(
        self,
        name: str,
        *,
        namespace: NetworkNamespace,
        layout: Layout,
        scope: str,
        secrets: Secrets,
        programs: Programs,
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.address = namespace.address
        self.layout = layout
        self.secrets = secrets
        self._scope = scope
        self._programs = programs
        self._etcd: subprocess.Popen[bytes] | None = None
        self._patroni: subprocess.Popen[bytes] | None = None
        self._app: subprocess.Popen[bytes] | None = None

    # -- addresses ----------------------------------------------------------------------------------------------

    @property
    def patroni_url(self) -> str:
        """Patroni's REST API."""
        return f"http://{self.address}:{PATRONI_PORT}"

    @property
    def port(self) -> int:
        """PostgreSQL's port at `address`."""
        return POSTGRESQL_PORT

    @property
    def app_port(self) -> int:
        """The writer service's port at `address`."""
        return APP_PORT

    @property
    def app_url(self) -> str:
        """The writer service."""
        return f"http://{self.address}:{APP_PORT}"

    # -- life ---------------------------------------------------------------------------------------------------

    def launch(self, *, primary: str | None) -> None:
        """Start etcd, Patroni and the writer service without waiting; `primary`: the address of what it follows."""
        self.layout.socket.mkdir()
        shutil.chown(self.layout.socket, USER, USER)
        self._configure(primary)
        # The writer service runs as the user postgres too, who need not be able to read this repository.
        shutil.copyfile(_APP, self.layout.directory / _APP.name)
        self._etcd = self._spawn(etcd_command(self._programs.etcd, self.layout), log="etcd")
        self.start_patroni()
        self._start_app()

    def start_patroni(self) -> float:
        """Start Patroni, which starts PostgreSQL unless it runs."""
        if self._patroni is not None and self._patroni.poll() is None:
            raise RuntimeError(f"Patroni of {self.name} runs already")
        program = self._programs.patroni / "patroni"
        self._patroni = self._spawn([str(program), str(self.layout.patroni)], log="patroni", user=USER)
        return time.monotonic()

    def restart_patroni(self) -> float:
        """SIGKILL Patroni and start it again; PostgreSQL goes on all the while."""
        self.kill_patroni()
        return self.start_patroni()

    def close(self) -> None:
        """Kill everything."""
        self.kill()
        for process in (self._app, self._etcd):
            if process is not None:
                process.kill()
                stop(process)
        self._app = self._etcd = None

    # -- faults -------------------------------------------------------------------------------------------------

    def kill(self) -> float:
        """SIGKILL Patroni and PostgreSQL at once, as when the machine is gone; etcd's and PostgreSQL's data stay."""
        # Patroni first: it would start a dead PostgreSQL again.
        self.kill_patroni()
        for pid in self._postmasters():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        at = time.monotonic()
        self._wait(lambda: not self._postmasters(), what="die", timeout=10.0)
        return at

    def power_off(self) -> float:
        """SIGKILL everything of the region but its agent, etcd too: nothing is left that could be asked."""
        at = self.kill()
        for process in (self._app, self._etcd):
            if process is not None:
                process.kill()
                stop(process)
        return at

    def power_on(self) -> float:
        """Start everything at once, as machines do that boot, after `power_off`. Nobody tells it what became of the
        other region: its own configuration store knows it as the primary."""
        self._etcd = self._spawn(etcd_command(self._programs.etcd, self.layout), log="etcd")
        self._start_app()
        return self.start_patroni()

    def kill_patroni(self) -> float:
        """SIGKILL Patroni alone."""
        if self._patroni is not None:
            self._patroni.kill()
            stop(self._patroni)
            self._patroni = None
        return time.monotonic()

    def freeze_patroni(self) -> float:
        """SIGSTOP Patroni: its REST API accepts connections and does not answer; PostgreSQL goes on."""
        self._running(self._patroni).send_signal(signal.SIGSTOP)
        return time.monotonic()

    def thaw_patroni(self) -> float:
        """SIGCONT after `freeze_patroni`."""
        self._running(self._patroni).send_signal(signal.SIGCONT)
        return time.monotonic()

    def rejoin(self, primary: Database) -> float:
        """Bring a killed region back as the standby of another: told through its etcd before Patroni runs, so that it
        never is a primary again; pg_rewind runs by itself."""
        argv = [str(self._programs.patroni / "patronictl"), "-c", str(self.layout.patroni), "edit-config", "--force"]
        argv += ["-s", f"standby_cluster.host={primary.address}", "-s", f"standby_cluster.port={primary.port}"]
        self._run_as_postgres([*argv, "-s", "pause=null"])
        return self.start_patroni()

    def rebuild(self, primary: Database) -> float:
        """Make a region anew as the standby of another: nothing of its database, nor of its configuration store, is
        kept. The monotonic time at which it was started; it copies the primary."""
        self.kill()
        if self._etcd is not None:
            self._etcd.kill()
            stop(self._etcd)
        for directory in (self.layout.data, self.layout.directory / "etcd"):
            shutil.rmtree(directory)
        self._configure(primary.address)
        self._etcd = self._spawn(etcd_command(self._programs.etcd, self.layout), log="etcd")
        return self.start_patroni()

    # -- looking ------------------------------------------------------------------------------------------------

    def status(self, path: str = "/patroni") -> tuple[int, dict[str, Any]]:
        """GET at Patroni's REST API: status and body; (0, {}) when it does not answer."""
        try:
            with urllib.request.urlopen(self.patroni_url + path, timeout=_HTTP_TIMEOUT) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")
        except OSError:
            return 0, {}

    def configure(self, change: dict[str, Any]) -> None:
        """PATCH Patroni's dynamic configuration, with the right password."""
        request = urllib.request.Request(  # noqa: S310
            self.patroni_url + "/config",
            method="PATCH",
            data=json.dumps(change).encode(),
            headers={"content-type": "application/json", "authorization": self._basic_auth()},
        )
        with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT) as answer:  # noqa: S310
            answer.read()

    def query(self, statement: str) -> str:
        """What psql prints for a statement as superuser, without headers; `DatabaseError` with its complaint."""
        psql = str(self._programs.postgresql / "psql")
        return self._run_as_postgres(
            [psql, "-h", str(self.layout.socket), "-d", "postgres", "-XAtqc", statement], own_namespace=False
        ).strip()

    def accepts_writes(self) -> bool:
        """Whether PostgreSQL is up and out of recovery, by its own word; a region that is dead accepts none."""
        try:
            return self.query("SELECT pg_is_in_recovery()") == "f"
        except DatabaseError:
            return False

    def numbers(self) -> set[int]:
        """The integers that this region's database has now."""
        return {int(line) for line in self.query("SELECT n FROM writes").splitlines()}

    def wait_role(self, role: str, *, timeout: float = 60.0, progress: Progress | None = None) -> float:
        """Wait until Patroni answers 200 at `/<role>` ("primary", "standby-leader"); the monotonic time."""
        began = time.monotonic()

        def reached() -> bool:
            if progress is not None:
                progress.tick(f"waiting for {self.name} to become {role}")
            return self.status(f"/{role}")[0] == 200

        self._wait(reached, what=f"become {role}", timeout=timeout - (time.monotonic() - began))
        return time.monotonic()

    def wait_streaming(self, *, timeout: float = 60.0) -> float:
        """Wait until the standby streams from its source; the monotonic time."""
        self._wait(
            lambda: self.status()[1].get("replication_state") == "streaming", what="stream", timeout=timeout, alive=True
        )
        return time.monotonic()

    # -----------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the writer service's role and table; on the primary, once."""
        self.query(
            f"CREATE ROLE {APP_ROLE} LOGIN; "
            "CREATE TABLE writes (n bigint PRIMARY KEY, region text NOT NULL, at timestamptz NOT NULL DEFAULT now()); "
            f"GRANT SELECT, INSERT ON writes TO {APP_ROLE};"
        )

    def _configure(self, primary: str | None) -> None:
        settings = patroni_settings(
            scope=self._scope,
            name=f"{self.name}-0",
            address=self.address,
            layout=self.layout,
            binaries=self._programs.postgresql,
            secrets=self.secrets,
            primary=primary,
        )
        self.layout.patroni.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        self.layout.patroni.chmod(0o600)
        shutil.chown(self.layout.patroni, USER, USER)

    def _start_app(self) -> None:
        conninfo = f"host={self.layout.socket} dbname=postgres user={APP_ROLE} connect_timeout=2"
        argv = [str(self._programs.patroni / "python"), str(self.layout.directory / _APP.name), f"--region={self.name}"]
        self._app = self._spawn([*argv, f"--port={APP_PORT}", f"--conninfo={conninfo}"], log="app", user=USER)

    def _spawn(self, argv: list[str], *, log: str, user: str = "") -> subprocess.Popen[bytes]:
        inside = argv if not user else [*_become(user), tool("setpriv"), "--pdeathsig", "KILL", "--", *argv]
        # A change of user takes the death signal away, so it is asked for once more after it.
        with self.layout.log(log).open("ab") as output:
            return spawn(
                self.namespace.command(inside),
                stdout=output,
                stderr=output,
                environment=_environment(),
                directory=self.layout.directory,
            )

    def _run_as_postgres(self, argv: list[str], *, own_namespace: bool = True) -> str:
        command = [*_become(USER), *argv]
        done = subprocess.run(
            self.namespace.command(command) if own_namespace else command,
            capture_output=True,
            text=True,
            timeout=30.0,
            check=False,
            cwd=self.layout.directory,
            env=_environment(),
        )
        if done.returncode != 0:
            raise DatabaseError(f"`{argv[0]}` in {self.name} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout

    def _postmasters(self) -> list[int]:
        return postmasters(self.layout.data)

    def _basic_auth(self) -> str:
        pair = f"{self.secrets.rest_user}:{self.secrets.rest_password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _running(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if process is None:
            raise RuntimeError(f"Patroni of {self.name} does not run")
        return process

    def _wait(self, condition: Callable[[], bool], *, what: str, timeout: float, alive: bool = False) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            ended = alive and (self._patroni is None or self._patroni.poll() is not None)
            if ended or time.monotonic() > deadline:
                log = self.layout.log("patroni").read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
                raise DatabaseError(
                    f"{self.name} did not {what} within {timeout:.0f} s; the end of Patroni's log:\n" + "\n".join(log)
                )
            time.sleep(_POLL)


def postmasters(data: Path) -> list[int]:
    """Process ids of all of PostgreSQL on a data directory: it lives there, which no stale file can tell."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == data and (entry / "exe").readlink().name == "postgres":
                    found.append(int(entry.name))
    return found


def _become(user: str) -> list[str]:
    return [tool("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]


def _environment() -> dict[str, str]:
    """Nothing of ours: PG* variables or a foreign PYTHONPATH would change what the programs do."""
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
