"""Writes and reads kubeconfig files with everything inside them, so that a file can be moved or put into a Secret."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed.controlplane.certificates import KeyPair, write_secret


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server and as whom: by client certificate, or by bearer token."""

    server: str
    authority: bytes
    client: KeyPair | None = None
    token: str | None = None

    def write(self, path: Path, *, name: str, namespace: str = "default") -> Path:
        """Write a kubeconfig for its owner's eyes only and give its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        user: dict[str, str] = {}
        if self.client is not None:
            user["client-certificate-data"] = _encode(self.client.certificate)
            user["client-key-data"] = _encode(self.client.key)
        if self.token is not None:
            user["token"] = self.token
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": self.server, "certificate-authority-data": _encode(self.authority)},
                }
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
            "current-context": name,
        }
        write_secret(path, yaml.safe_dump(document, sort_keys=False).encode())
        return path

    @classmethod
    def read(cls, path: Path) -> "Access":
        """Read the current context of a kubeconfig whose data are inline.

        Raises:
            KeyError: it names files, or a way of signing in that the testbed does not make.
        """
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        context = _named(document["contexts"], document["current-context"])["context"]
        cluster = _named(document["clusters"], context["cluster"])["cluster"]
        user = _named(document["users"], context["user"])["user"]
        client = None
        if "client-certificate-data" in user:
            client = KeyPair(_decode(user["client-certificate-data"]), _decode(user["client-key-data"]))
        authority = _decode(cluster["certificate-authority-data"])
        return cls(server=cluster["server"], authority=authority, client=client, token=user.get("token"))


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(data: str) -> bytes:
    return base64.b64decode(data)
