"""What tests of safety rules look at: a hold as people and machines see it, and regions that are down on demand."""

from __future__ import annotations

import secrets
import socketserver
import threading
from typing import Any

from regent.domain.times import parse_rfc3339
from testbed.scene import eventually, manifests
from tests.cluster.cli.conftest import GROUP, Desk, delete

WAIT = 60.0


class _Door:
    """Takes connections and closes them: what is only listened to fills up after a hundred probes."""

    def __init__(self, port: int = 0) -> None:
        self._server = socketserver.TCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler, False)
        self._server.allow_reuse_address = True
        self._server.server_bind()
        self._server.server_activate()
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Doors:
    """Regions of a test's own that are up as long as their door is open: a TCP probe, and nothing behind it."""

    def __init__(self, desk: Desk, *words: str) -> None:
        mark = f"r{secrets.token_hex(3)}"
        self.names = [f"{mark}-{word}" for word in words]
        self._desk = desk
        self._open = {name: _Door() for name in self.names}
        self._ports = {name: door.port for name, door in self._open.items()}
        for place, name in enumerate(self.names):
            probe = {"tcp": {"port": self._ports[name]}}
            region = manifests.region(name, endpoint="https://127.0.0.1", probe=probe, priority=100 - place)
            desk.stage.cluster.apply(region)

    def wait_healthy(self) -> None:
        for name in self.names:
            eventually(lambda name=name: health(self._desk, name) == "Healthy", what=f"{name} healthy", timeout=WAIT)

    def shut(self, name: str) -> None:
        self._open.pop(name).close()

    def open(self, name: str) -> None:
        self._open[name] = _Door(self._ports[name])

    def close(self) -> None:
        """After the policy is gone: a region that goes while it is active would start a last run."""
        for name in list(self._open):
            self.shut(name)
        for name in self.names:
            delete(self._desk.stage, f"{GROUP}/regions/{name}")


def health(desk: Desk, name: str) -> str:
    return str((desk.stage.cluster.api.get(f"{GROUP}/regions/{name}").get("status") or {}).get("health"))


def put_policy(desk: Desk, names: list[str], **spec: Any) -> None:
    """Make a policy that begins with the most preferred region. Where a probe of it is lost in that very moment, a
    policy rightly begins with another one."""
    for _ in range(5):
        desk.put_policy(regions=[{"name": name} for name in names], **spec)
        if desk.active().startswith(names[0]):
            return
        delete(desk.stage, desk.path("failoverpolicies", "shop"))
    raise AssertionError(f"{names[0]} is never fit to begin with: {desk.active()}")


def progressing(desk: Desk) -> dict[str, Any]:
    conditions = desk.get("failoverpolicies", "shop")["status"]["conditions"]
    return next((item for item in conditions if item["type"] == "Progressing"), {"reason": "", "message": ""})


def held(desk: Desk, reason: str, *said: str) -> dict[str, Any]:
    """Wait until the rule holds the policy back, as condition, on the screen with all of `said`, and as a metric."""

    def shown() -> dict[str, Any]:
        found = progressing(desk)
        assert found["reason"] == reason, desk.get("failoverpolicies", "shop")["status"]
        return found

    found = eventually(shown, what=f"hold {reason}", timeout=WAIT)
    screen = desk.run("status", "shop").stdout
    told = " ".join(screen.split())
    assert [text for text in said if text not in told] == [], screen
    eventually(lambda: desk.metric("regent_policy_held", reason=reason) == 1, what="the metric", timeout=WAIT)
    return found


def lifted(desk: Desk, reason: str) -> None:
    """Wait until nothing shows the rule any more."""
    eventually(lambda: progressing(desk)["reason"] != reason, what=f"the end of {reason}", timeout=WAIT)
    eventually(lambda: desk.metric("regent_policy_held", reason=reason) == 0, what="the metric's end", timeout=WAIT)


def condition(desk: Desk, kind: str) -> dict[str, Any]:
    conditions = desk.get("failoverpolicies", "shop")["status"].get("conditions") or ()
    return next((dict(item) for item in conditions if item["type"] == kind), {})


def ended(desk: Desk, number: int) -> dict[str, Any]:
    """The newest run, once so many have ended."""

    def over() -> list[dict[str, Any]] | None:
        found = [run for run in desk.runs() if (run.get("status") or {}).get("completionTime")]
        return found if len(found) == number else None

    runs = eventually(over, what=f"{number} ended runs", timeout=WAIT)
    return max(runs, key=lambda run: str(run["status"]["completionTime"]))


def end_of(run: dict[str, Any]) -> float:
    """When a run ended, seconds since the epoch."""
    return parse_rfc3339(run["status"]["completionTime"])
