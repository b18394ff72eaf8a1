"""A promotion endpoint of a user, which fails as a test says: what steps of type HTTP talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


class Roles:
    """The endpoint: a role for each region, and what goes wrong with it.

    Regions in `away` are not answered for; in `stuck` they begin to take the active role and never have it.
    """

    def __init__(self, active: str, standby: list[str]) -> None:
        self.roles = {active: "Active", **dict.fromkeys(standby, "Standby")}
        self.away: set[str] = set()
        self.stuck: set[str] = set()
        self.done: list[str] = []
        self.url = ""

    def answer(self, asked: Json) -> tuple[int, Json]:
        action, region = asked["action"], asked["region"]
        if region in self.away and action != "sync":
            return 503, {"message": f"{region} does not answer"}
        if action == "observe":
            return 200, {"role": self.roles[region], "lagSeconds": 0.0, "snapshot": {"tier": "gold"}}
        if action == "sync":
            return 200, {"done": True}
        self.done.append(f"{action} {region}")
        if action == "promote" and region in self.stuck:
            self.roles[region] = "Changing"
        else:
            wanted = {"promote": "Active", "demote": "Standby", "restore": asked.get("snapshot", {}).get("role")}
            self.roles[region] = str(wanted[action])
        return 200, {}

    def active(self) -> list[str]:
        return sorted(region for region, role in self.roles.items() if role == "Active")


@contextmanager
def serving(roles: Roles) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = roles.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        roles.url = f"http://127.0.0.1:{server.server_port}/roles"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def step(roles: Roles, name: str = "db", *, data: str = "Held", timeout: str = "3s") -> Json:
    return {"name": name, "type": "HTTP", "timeout": timeout, "http": {"url": roles.url, "data": data}}
