"""The writer service of a region: keeps integers in the region's PostgreSQL and never says yes too early.

    POST /write {"n": 7}   200 after the commit. 503 with `x-outcome: refused` when surely nothing was written (the
                           database is a standby, or not there); 500 when that is not known.
    GET /list              every integer that the local database has, as JSON
    GET /healthz           200 while the local database answers: as a primary that takes writes, or as a standby
    GET anything else      200

Every answer names its region in `x-region`. A file of its own, with nothing but the standard library and psycopg: it
runs in Patroni's environment, as a user who cannot read this repository.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

_MAX_BODY = 4096
_POOL = 16


class UnreachableError(Exception):
    """There was no connection to the database, so nothing can have been written."""


class Store:
    """The local database. Connections are kept, and thrown away after any error but a refused write."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: queue.LifoQueue[psycopg.Connection[Any]] = queue.LifoQueue(_POOL)

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """One statement in a transaction of its own; its rows."""
        connection = self._connection()
        try:
            cursor = connection.execute(statement, parameters)
            rows = cursor.fetchall() if cursor.description else []
        except psycopg.errors.ReadOnlySqlTransaction:
            self._give_back(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return rows

    def _connection(self) -> psycopg.Connection[Any]:
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                try:
                    return psycopg.connect(self._conninfo, autocommit=True)
                except psycopg.OperationalError as error:
                    raise UnreachableError(str(error)) from error
            # A server that went away while the connection was idle has said so, or closed it: nothing of this
            # request is lost with it, so it is not the client's concern.
            if not _ended(connection):
                return connection
            connection.close()

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()


def _ended(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return bool(connection.broken or connection.closed)


class Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    # The head and the body leave in one segment; otherwise each answer would wait for the client's delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """Answer health, the list, and the gateway's own look."""
        if self.path == "/healthz":
            self._health()
        elif self.path == "/list":
            try:
                numbers = [row[0] for row in self.server.store.execute("SELECT n FROM writes ORDER BY n")]
            except (UnreachableError, psycopg.Error) as error:
                self._answer(503, {"error": str(error)})
            else:
                self._answer(200, {"numbers": numbers})
        else:
            self._answer(200, {"region": self.server.region})

    def do_POST(self) -> None:
        """Write one integer."""
        length = int(self.headers.get("content-length") or 0)
        if self.path != "/write" or not 0 < length <= _MAX_BODY:
            self.close_connection = True
            self._answer(404 if self.path != "/write" else 400, {"error": 'POST /write takes {"n": INTEGER}'})
            return
        try:
            number = int(json.loads(self.rfile.read(length))["n"])
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"error": 'POST /write takes {"n": INTEGER}'}, outcome="refused")
            return
        try:
            self.server.store.execute(
                "INSERT INTO writes (n, region) VALUES (%s, %s) ON CONFLICT (n) DO NOTHING",
                (number, self.server.region),
            )
        except (UnreachableError, psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.UndefinedTable) as error:
            self._answer(503, {"error": str(error)}, outcome="refused")
        except psycopg.Error as error:
            # A server that shuts down may have committed before it said so: nobody knows.
            self._answer(500, {"error": str(error)})
        else:
            self._answer(200, {"n": number})

    def _health(self) -> None:
        try:
            ((recovering, read_only),) = self.server.store.execute(
                "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
            )
        except (UnreachableError, psycopg.Error) as error:
            self._answer(503, {"region": self.server.region, "status": "down", "error": str(error)})
            return
        healthy = recovering or not read_only
        role = "standby" if recovering else "primary"
        self._answer(200 if healthy else 503, {"region": self.server.region, "status": "ok", "role": role})

    def _answer(self, status: int, content: dict[str, Any], *, outcome: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-region", self.server.region)
        if outcome:
            self.send_header("x-outcome", outcome)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: one line for each write would be most of the log."""


class Server(ThreadingHTTPServer):
    """The HTTP server with its region and its store."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], *, region: str, store: Store) -> None:
        self.region = region
        self.store = store
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error of ours; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--region", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--conninfo", required=True)
    arguments = parser.parse_args()
    server = Server(("0.0.0.0", arguments.port), region=arguments.region, store=Store(arguments.conninfo))

    def end(_number: int, _frame: object) -> None:
        # From another thread: shutdown() waits for serve_forever, which this handler interrupts.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
