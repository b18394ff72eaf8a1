"""A validating webhook of the users: it refuses what asks to be refused, and never answers about what asks for that."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testbed.controlplane import ControlPlane
from testbed.controlplane.certificates import CertificateAuthority

LABEL = "webhook"
REFUSE, HANG = "refuse", "hang"
REFUSAL = "not in this cluster"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@contextmanager
def webhooks(plane: ControlPlane, namespace: str, directory: Path) -> Iterator[None]:
    """While it is open, ConfigMaps of the namespace labelled `webhook: refuse` or `webhook: hang` meet one."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.startswith(f"/{HANG}"):
                released.wait()
            verdict = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": REFUSAL}}
            body = json.dumps({**review, "response": verdict}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            pass

    authority = CertificateAuthority(common_name="webhook")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.server(names=["localhost"], addresses=["127.0.0.1"]).write(directory, "webhook"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        plane.apply(_configuration(namespace, server.server_address[1], authority.certificate))
        try:
            yield
        finally:
            plane.api.delete(f"{CONFIGURATIONS}/{namespace}")
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _configuration(namespace: str, port: int, authority: bytes) -> dict[str, object]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    hooks = [
        {
            "name": f"{what}.{LABEL}.example.com",
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/{what}",
                "caBundle": base64.b64encode(authority).decode(),
            },
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "objectSelector": {"matchLabels": {LABEL: what}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 30,
            "admissionReviewVersions": ["v1"],
        }
        for what in (REFUSE, HANG)
    ]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": hooks,
    }
