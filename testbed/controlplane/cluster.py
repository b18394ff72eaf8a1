"""What every cluster of the testbed can do, whoever runs it: apply, namespaces, CRDs, ServiceAccount kubeconfigs."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpcore
import yaml

from testbed.controlplane.api import ApiClient, ApiError, Json
from testbed.controlplane.kubeconfig import Access
from testbed.toolchain import control_plane_binary

Manifests = Path | str | Mapping[str, Any] | Iterable[Mapping[str, Any]]
_POLL_SECONDS = 0.05


class Cluster:
    """A reachable API server with an admin's rights.

    `kubeconfig` is the admin's kubeconfig; `directory` takes the kubeconfigs of ServiceAccounts.
    """

    def __init__(self, *, name: str, kubeconfig: Path, directory: Path) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.directory = directory
        self.access = Access.read(kubeconfig)
        self.api = ApiClient(self.access)

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return self.access.server

    @property
    def kubectl(self) -> Path:
        """A kubectl of the cluster's own version; nothing in the testbed itself needs it.

        Raises:
            ToolchainError: it cannot be had.
        """
        return control_plane_binary("kubectl")

    def apply(self, manifests: Manifests, *, namespace: str | None = None, strict: bool = True) -> list[Json]:
        """Server-side apply manifests in order: a YAML file, a directory of them, YAML text, or dictionaries.

        `namespace` is filled in where a manifest has none.

        Raises:
            ApiError: one was refused; those before it are applied.
        """
        applied = []
        for manifest in read_manifests(manifests):
            if namespace is not None and "namespace" not in manifest["metadata"]:
                manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}  # noqa: PLW2901
            applied.append(self.api.apply(manifest, strict=strict))
        return applied

    def install_crds(self, manifests: Manifests, *, timeout: float = 20.0) -> list[str]:
        """Apply resource definitions, wait until all are Established and served, and give their names.

        Other objects among the manifests (the Gateway API has an admission policy beside its CRDs) are applied too.

        Raises:
            TimeoutError: one was not established in `timeout` seconds.
        """
        applied = self.apply(manifests, strict=False)
        definitions = [entry for entry in applied if entry["kind"] == "CustomResourceDefinition"]
        for definition in definitions:
            self.wait_for(
                lambda definition=definition: self._is_served(definition),  # type: ignore[misc]
                what=f"{definition['metadata']['name']} to be established",
                timeout=timeout,
            )
        return [definition["metadata"]["name"] for definition in definitions]

    def _is_served(self, definition: Json) -> bool:
        name = definition["metadata"]["name"]
        current = self.api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        conditions = {entry["type"]: entry["status"] for entry in current.get("status", {}).get("conditions") or []}
        if conditions.get("Established") != "True":
            return False
        # Established comes shortly before the new path is served; a client that starts at once would get 404.
        spec = current["spec"]
        return all(
            self._answers(f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}")
            for version in spec["versions"]
            if version["served"]
        )

    def _answers(self, path: str) -> bool:
        try:
            self.api.get(path, limit="1")
        except ApiError as error:
            if error.status in (404, 503):
                return False
            raise
        return True

    def create_namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> str:
        """Create a namespace and give its name.

        Raises:
            ApiError: it exists already, or the name is not valid.
        """
        metadata = {"name": name, "labels": dict(labels or {})}
        self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return name

    def delete_namespace(self, name: str) -> None:
        """Ask for a namespace's deletion and return at once; one that is gone already is fine."""
        try:
            self.api.delete(f"/api/v1/namespaces/{name}")
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def service_account_kubeconfig(
        self, namespace: str, name: str, *, lifetime: int = 24 * 3600, path: Path | None = None
    ) -> Path:
        """Write a kubeconfig that signs in as an existing ServiceAccount, by a token from the TokenRequest API.

        `lifetime` is in seconds (at least 600). The file is `path`, or one in the cluster's own directory.

        Raises:
            ApiError: there is no such ServiceAccount.
        """
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": lifetime},
        }
        answer = self.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", request)
        access = Access(server=self.server, authority=self.access.authority, token=answer["status"]["token"])
        target = path or self.directory / "kubeconfigs" / f"{namespace}-{name}.yaml"
        return access.write(target, name=f"{self.name}-{name}", namespace=namespace)

    def client(self, kubeconfig: Path) -> ApiClient:
        """A client for another user's kubeconfig; close it when done."""
        return ApiClient(Access.read(kubeconfig))

    def is_ready(self) -> bool:
        """Whether the API server says at /readyz that it serves."""
        try:
            self.api.raw("GET", "/readyz")
        except (ApiError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
            return False
        return True

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float) -> None:
        """Poll until `condition` holds.

        Raises:
            TimeoutError: it does not hold after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline:
                raise TimeoutError(f"cluster {self.name}: waited {timeout:.0f} s for {what}")
            time.sleep(_POLL_SECONDS)


def read_manifests(manifests: Manifests) -> list[Json]:
    """Every document of a file, of a directory's YAML files in order of their names, of a text, or as they come."""
    if isinstance(manifests, Path):
        files = sorted([*manifests.glob("*.yaml"), *manifests.glob("*.yml")]) if manifests.is_dir() else [manifests]
        if not files:
            raise FileNotFoundError(f"there is no YAML file in {manifests}")
        return [document for file in files for document in _documents(file.read_text()) if _is_object(document)]
    if isinstance(manifests, str):
        return _documents(manifests)
    if isinstance(manifests, Mapping):
        return [dict(manifests)]
    return [dict(manifest) for manifest in manifests]


def _documents(text: str) -> list[Json]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, Loader=loader) if document]


def _is_object(document: Json) -> bool:
    """A kustomization lies beside manifests and is none."""
    return not str(document.get("apiVersion", "")).startswith("kustomize.config.k8s.io/")
