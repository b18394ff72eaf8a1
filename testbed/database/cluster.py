"""Starts the databases of two regions or more, the first as primary and the others as its standby clusters.

What a killed test run leaves is removed: programs that it started itself die with it, and a watchdog, which holds the
other end of a pipe, kills the PostgreSQL servers (Patroni's orphans) and removes the files as soon as the pipe ends.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from testbed.database.environment import USER, DatabaseError, patroni_environment, postgresql_binaries, require_rights
from testbed.database.region import Database, Programs
from testbed.database.settings import Layout, Secrets
from testbed.network import NetworkNamespaces
from testbed.toolchain import ensure
from testbed.toolchain.progress import Progress

_BOOT = 180.0
"""Seconds for a database to be made: 10 on free cores, over a minute where others use them."""
_REPOSITORY = Path(__file__).resolve().parents[2]


class Databases:
    """Context manager: `databases["eu-west-1"]` is a region's; ready when all stream, after about 10 s.

    Each runs in the namespace of its name in `network`, which is added when missing. Passwords are drawn anew.
    `strangers` are further databases that are no copies of the others.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        network: NetworkNamespaces,
        application: str = "shop",
        strangers: Iterable[str] = (),
    ) -> None:
        self._names = tuple(names)
        self._strangers = tuple(strangers)
        self.network = network
        self._application = application
        self._members: dict[str, Database] = {}
        self._stack = ExitStack()
        self.secrets = Secrets(
            superuser=secrets.token_hex(12),
            replication=secrets.token_hex(12),
            rewind=secrets.token_hex(12),
            rest_user="regent",
            rest_password=secrets.token_hex(12),
        )

    def __enter__(self) -> Databases:
        require_rights()
        programs = Programs(etcd=ensure("etcd"), patroni=patroni_environment(), postgresql=postgresql_binaries())
        progress = Progress()
        with ExitStack() as stack:
            directory = self._directory(stack)
            for name in (*self._names, *self._strangers):
                self._add(name, directory, programs, stack)
            progress.say(f"starting PostgreSQL under Patroni in {', '.join(self._names)} (about 10 s)")
            try:
                self._boot(progress)
            except DatabaseError:
                self._keep_logs(directory, progress)
                raise
            progress.say(f"PostgreSQL streams to every region, {progress.elapsed:.0f} s")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._members.clear()

    def __getitem__(self, name: str) -> Database:
        return self._members[name]

    def __iter__(self) -> Iterator[Database]:
        return iter(self._members.values())

    def _boot(self, progress: Progress) -> None:
        first, *others = (self[name] for name in self._names)
        for alone in (first, *(self[name] for name in self._strangers)):
            alone.launch(primary=None)
        # A standby cluster whose source is not there yet gives up after two tries.
        first.wait_role("primary", timeout=_BOOT, progress=progress)
        first.prepare()
        for other in others:
            other.launch(primary=first.address)
        for other in others:
            other.wait_role("standby-leader", timeout=_BOOT, progress=progress)
            other.wait_streaming()
        for name in self._strangers:
            self[name].wait_role("primary", timeout=_BOOT, progress=progress)

    def _add(self, name: str, directory: Path, programs: Programs, stack: ExitStack) -> None:
        layout = Layout(directory / name)
        layout.directory.mkdir(mode=0o750)
        shutil.chown(layout.directory, USER, USER)
        database = Database(
            name,
            namespace=self.network.get(name) or self.network.add(name),
            layout=layout,
            scope=f"{self._application}-{name}",
            secrets=self.secrets,
            programs=programs,
        )
        stack.callback(database.close)
        self._members[name] = database

    def _directory(self, stack: ExitStack) -> Path:
        # Short, for a Unix socket lies in it (107 bytes), and open to the user postgres, whatever TMPDIR says.
        directory = Path(tempfile.mkdtemp(prefix="regent-db-", dir="/var/tmp"))
        directory.chmod(0o711)
        watchdog = subprocess.Popen(
            [sys.executable, "-m", "testbed.database.watchdog", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=_REPOSITORY,
            start_new_session=True,  # so that a Ctrl-C at the terminal does not take it along
        )

        def release() -> None:
            if watchdog.stdin is not None:
                watchdog.stdin.close()
            watchdog.wait(timeout=30.0)

        stack.callback(release)
        return directory

    def _keep_logs(self, directory: Path, progress: Progress) -> None:
        kept = Path(tempfile.mkdtemp(prefix="regent-database-logs-"))
        for log in directory.glob("*/*.log"):
            shutil.copyfile(log, kept / f"{log.parent.name}-{log.name}")
        progress.say(f"the logs of the databases are kept in {kept}")
