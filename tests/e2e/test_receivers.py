"""Hooks and notifications with the chart's account: what it may not read, what it may, and what receivers get."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually
from tests.e2e.claims import claim_policy, claim_run
from tests.e2e.conftest import MakeScene
from tests.fakes.receiver import Message, is_signed

KEY = b"end-to-end-end-to-end-end-to-end"
Json = dict[str, Any]


class Endpoint:
    """A receiver of the user's, on loopback. Answers 200, or 423 with words while `veto` is set."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.messages: list[Message] = []
        self.veto = ""

    def events(self, word: str) -> list[Json]:
        kind = f"dev.regent.failover.{word}"
        return [message.json for message in list(self.messages) if message.json["type"] == kind]


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one.messages.append(Message(len(one.messages) + 1, self.requestline, headers, body))
            vetoed = one.veto and one.messages[-1].json["type"].endswith(".before")
            answer = json.dumps({"message": one.veto if vetoed else ""}).encode()
            self.send_response(423 if vetoed else 200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one = Endpoint(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield one
        finally:
            server.shutdown()
            thread.join()


def grant(scene: Scene, secret: str) -> None:
    """What a user does who gives Regent this one Secret and nothing more."""
    meta = {"name": "regent-signing", "namespace": scene.namespace}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}
    api = "rbac.authorization.k8s.io"
    scene.cluster.apply([
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": meta,
         "roleRef": {"apiGroup": api, "kind": "Role", "name": "regent-signing"},
         "subjects": [{"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}]},
    ])  # fmt: skip


def ready(scene: Scene, status: str, *, timeout: float) -> Json:
    def look() -> Json | None:
        found = scene.condition("Ready")
        return found if found.get("status") == status else None

    return eventually(look, what=f"Ready={status}", timeout=timeout)


def test_receivers_from_a_forbidden_secret_to_a_vetoed_and_told_failover(
    make_scene: MakeScene, operators: OperatorReplicas
) -> None:
    operators.leader(timeout=60)
    scene = make_scene()
    west, central, _ = scene.names
    data = {"key": base64.b64encode(b"whsec_" + base64.b64encode(KEY)).decode()}
    meta = {"name": "signing", "namespace": scene.namespace}
    scene.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
    with endpoint() as receiver:
        call = {"url": f"{receiver.url}/in", "secretRef": {"name": "signing"}}
        scene.apply_regions()
        scene.apply_policy(
            hooks={"beforeFailover": [{"name": "guard", "http": call, "onError": "Abort"}]}, notifications=[call]
        )
        scene.wait_adopted()
        forbidden = ready(scene, "False", timeout=10)
        assert forbidden["reason"] == "SecretForbidden"
        assert f"Secret {scene.namespace}/signing" in forbidden["message"]
        assert receiver.messages == []
        grant(scene, "signing")
        ready(scene, "True", timeout=20)

        receiver.veto = "month-end closing"
        scene.region(west).kill()
        action = eventually(
            lambda: found if (found := scene.condition("ActionRequired")).get("status") == "True" else None,
            what="the veto", timeout=10,
        )  # fmt: skip
        assert "hook guard vetoes" in action["message"] and "month-end closing" in action["message"]
        assert scene.weights()[west] > 0
        assert scene.runs()[0]["status"]["phase"] == "Blocked"

        receiver.veto = ""
        run = scene.wait_run(timeout=25)
        claim_run(run, source=west, to=central, trigger="Unreachable", epoch=2)
        claim_policy(scene, active=central, epoch=2)
        assert [(row["name"], row["result"]) for row in run["status"]["hooks"]] == [("guard", "Passed")]
        eventually(lambda: receiver.events("completed"), what="the last notification", timeout=5)

    assert all(is_signed(message, KEY) for message in receiver.messages)
    words = [message.json["type"].rpartition(".")[2] for message in receiver.messages]
    told = [word for word in words if word != "before"]
    assert sorted(told[:2]) == ["action-required", "blocked"] and told[2:] == ["started", "completed"], words
    (done,) = receiver.events("completed")
    assert (done["data"]["to"], done["data"]["phase"]) == (central, "Succeeded")
    identifiers = [message.headers["webhook-id"] for message in receiver.messages]
    assert len(identifiers) == len(set(identifiers))
