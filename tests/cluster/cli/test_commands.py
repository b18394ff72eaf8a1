"""The command line against a real API server and a real endpoint: the program as people start it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from testbed.controlplane import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
Regent = Callable[..., subprocess.CompletedProcess[str]]


class Page(BaseHTTPRequestHandler):
    """Answers /healthz with 200 and everything else with 503."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Shop:
    """A policy over two regions of this test alone."""

    namespace: str
    up: str
    down: str


@pytest.fixture
def shop(control_plane: Cluster, namespace: str, endpoint: str) -> Iterator[Shop]:
    control_plane.install_crds(ROOT / "crds")
    suffix = secrets.token_hex(3)
    made = Shop(namespace, f"up-{suffix}", f"down-{suffix}")
    for name, path in ((made.up, "/healthz"), (made.down, "/broken")):
        probe = {"name": "web", "http": {"path": path}}
        region = {"apiVersion": "regent.dev/v1alpha1", "kind": "Region", "metadata": {"name": name}}
        control_plane.apply({**region, "spec": {"endpoint": endpoint, "probes": [probe]}})
    policy = {"apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": {"name": "shop"}}
    control_plane.apply({**policy, "spec": {"regions": [{"name": made.up}, {"name": made.down}]}}, namespace=namespace)
    yield made
    for name in (made.up, made.down):
        control_plane.api.delete(f"/apis/regent.dev/v1alpha1/regions/{name}")


@pytest.fixture
def regent(control_plane: Cluster, shop: Shop, tmp_path: Path) -> Regent:
    """Run `regent` with a kubeconfig whose context names the namespace."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    config["contexts"][0]["context"]["namespace"] = shop.namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "regent", "--kubeconfig", str(kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_tour(regent: Regent, shop: Shop) -> None:
    listed = json.loads(regent("region", "list", "-o", "json").stdout)
    assert {shop.up, shop.down} <= {item["metadata"]["name"] for item in listed["items"]}
    assert shop.up in regent("region", "list", "--health", "Unknown").stdout
    assert shop.up not in regent("region", "list", "--healthy-only").stdout

    screen = regent("region", "show", shop.up)
    assert screen.returncode == 0, screen.stderr
    assert "http /healthz" in screen.stdout

    assert shop.namespace in regent("status").stdout
    depth = regent("status", "shop")  # in the namespace of the context
    assert depth.returncode == 0, depth.stderr
    assert "is it running?" in depth.stdout
    assert yaml.safe_load(regent("status", "shop", "--format", "yaml").stdout)["run"] is None


def test_health_check_probes_for_real(regent: Regent, shop: Shop) -> None:
    good = regent("region", "health-check", shop.up)
    assert (good.returncode, good.stderr) == (0, "")
    assert "Success" in good.stdout

    bad = regent("region", "health-check", shop.down, "-o", "json")
    assert bad.returncode == 1
    probe = json.loads(bad.stdout)["probes"][0]
    assert (probe["outcome"], "503" in probe["detail"]) == ("Refused", True)


def test_a_probe_whose_secret_is_missing_says_so(regent: Regent, shop: Shop, control_plane: Cluster) -> None:
    region = control_plane.api.get(f"/apis/regent.dev/v1alpha1/regions/{shop.up}")
    probe = {**region["spec"]["probes"][0], "url": "https://127.0.0.1:1", "tls": {"caSecretRef": {"name": "nothing"}}}
    manifest = {"apiVersion": "regent.dev/v1alpha1", "kind": "Region", "metadata": {"name": shop.up}}
    control_plane.apply({**manifest, "spec": {"endpoint": region["spec"]["endpoint"], "probes": [probe]}})
    checked = regent("region", "health-check", shop.up)
    assert checked.returncode == 1
    assert "NotRun" in checked.stdout
    assert "Secret regent-system/nothing does not exist" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "code"), [(["region", "show", "mars"], 1), (["status", "mars"], 1), (["status", "--mars"], 2)]
)
def test_errors_are_short(regent: Regent, arguments: list[str], code: int) -> None:
    done = regent(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "mars" in done.stderr
