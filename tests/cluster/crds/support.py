"""A plain HTTP client of the API server for the tests of the custom resource definitions.

These tests are about what the API server itself does with the definitions, so they speak its REST API directly: no
client library hides a status code, a default or a header.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

REPOSITORY = Path(__file__).parents[3]
GROUP = "regent.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@dataclass(frozen=True)
class RestClient:
    """Sends requests as the administrator."""

    http: httpx.Client
    kubeconfig: Path
    kubectl_path: Path

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"Accept": options.get("accept", "application/json")}
        if body is not None:
            headers["Content-Type"] = options.get("content_type", "application/json")
        return self.http.request(method, path, json=body, headers=headers, params=options.get("params"))

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        response = self.request(method, path, body, **options)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    def apply(self, manifest: dict[str, Any], path: str, manager: str = "crd-tests") -> dict[str, Any]:
        params = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return self.ok("PATCH", path, manifest, content_type=APPLY, params=params)

    def kubectl(self, *arguments: str) -> str:
        command = [str(self.kubectl_path), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def _plural(kind: str) -> str:
    return (kind.lower()[:-1] + "ies") if kind.endswith("y") else kind.lower() + "s"


def resource_path(manifest: dict[str, Any], namespace: str, *, named: bool = False, group: str = GROUP) -> str:
    kind = manifest["kind"]
    scope = "" if kind == "Region" else f"/namespaces/{namespace}"
    name = f"/{manifest['metadata']['name']}" if named else ""
    return f"/apis/{group}/v1alpha1{scope}/{_plural(kind)}{name}"


def merged(base: Any, patch: Any) -> Any:
    """RFC 7396: what a merge patch makes of a document."""
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def established(api: RestClient, name: str) -> dict[str, Any]:
    """Wait until a definition is served, and give its conditions."""
    deadline = time.monotonic() + 20
    while True:
        crd = api.ok("GET", f"{CRDS}/{name}")
        conditions = {c["type"]: c for c in (crd.get("status", {}).get("conditions") or [])}
        if conditions.get("Established", {}).get("status") == "True":
            version = crd["spec"]["versions"][0]["name"]
            if api.request(
                "GET", f"/apis/{crd['spec']['group']}/{version}/{crd['spec']['names']['plural']}"
            ).is_success:
                return conditions
        assert time.monotonic() < deadline, f"{name} is not established: {conditions}"
        time.sleep(0.05)


def load_crds() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "crds").glob("*.yaml"))]
