"""Fixtures of the tests of the custom resource definitions: a client, the installed definitions, a namespace."""

from __future__ import annotations

import base64
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from testbed.toolchain import ensure
from tests.cluster.crds.support import CRDS, RestClient, established, load_crds


def _ssl_context(cluster: dict[str, Any], user: dict[str, Any], scratch: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        pair = scratch / "client.pem"
        pair.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        context.load_cert_chain(pair)
    return context


@pytest.fixture(scope="session")
def api(control_plane: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestClient]:
    kubeconfig = Path(control_plane.kubeconfig)
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    context = _ssl_context(cluster, user, tmp_path_factory.mktemp("client"))
    with httpx.Client(base_url=cluster["server"], verify=context, headers=headers, timeout=20) as http:
        yield RestClient(http=http, kubeconfig=kubeconfig, kubectl_path=ensure("kubectl"))


@pytest.fixture(scope="session")
def crds() -> list[dict[str, Any]]:
    return load_crds()


@pytest.fixture(scope="session")
def installed(api: RestClient, crds: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The definitions, installed by server-side apply; gives the conditions of each."""
    for crd in crds:
        api.apply(crd, f"{CRDS}/{crd['metadata']['name']}")
    return {crd["metadata"]["name"]: established(api, crd["metadata"]["name"]) for crd in crds}


@pytest.fixture
def space(api: RestClient, installed: dict[str, Any]) -> Iterator[str]:
    """A namespace of its own; objects of cluster scope use its name as a prefix."""
    name = f"crds-{uuid.uuid4().hex[:8]}"
    api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    for region in api.ok("GET", "/apis/regent.dev/v1alpha1/regions")["items"]:
        if region["metadata"]["name"].startswith(name):
            api.ok("DELETE", f"/apis/regent.dev/v1alpha1/regions/{region['metadata']['name']}")
    api.ok("DELETE", f"/api/v1/namespaces/{name}")
