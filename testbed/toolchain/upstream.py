"""Module archives of other projects: fetched by the `go` command, checked against the hash that stands here.

Used for go.mod files of tools that only resolve from their own, and for resource definitions (CRDs) that other
projects ship inside their Go modules.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from testbed.locks import file_lock
from testbed.paths import cache_root
from testbed.toolchain.errors import ToolchainError
from testbed.toolchain.golang import run_go

GATEWAY_API_VERSION = "v1.6.1"
_GATEWAY_API_CHECKSUM = "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY="
ISTIO_VERSION = "v0.0.0-20260827124520-eed52ebb66ad"
_ISTIO_CHECKSUM = "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI="


CLOUDNATIVE_PG_VERSION = "v1.29.0"
_CLOUDNATIVE_PG_CHECKSUM = "h1:49Dm8+y4va7RODspJjeaK8uMWP3OGAD0gMsxhjm16Mo="

CSI_ADDONS_VERSION = "v0.14.0"
_CSI_ADDONS_CHECKSUM = "h1:aH4w1X9z6eOqbKvh9Q4M0YzksaUgQDU3aTU/fblG4yI="

KUBEVIRT_VERSION = "v1.7.0"
_KUBEVIRT_CHECKSUM = "h1:Emz0v1IGKwTvWvD+d0mZmfZFvVCxreSAPAUQnp0ZhZI="


def module_directory(module: str, version: str, *, checksum: str) -> Path:
    """Directory of the unpacked archive of `module@version` in Go's own module cache (read only).

    The answer is remembered beside the built tools, so that a later run asks neither `go` nor a proxy.

    Raises:
        ToolchainError: it cannot be had, or its `h1:` hash is not `checksum`.
    """
    notes = cache_root() / "modules"
    note = notes / f"{module.replace('/', '_')}@{version}.json"
    with file_lock(notes / ".lock"):
        known = _read_note(note, checksum=checksum)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory() as scratch:
            found = json.loads(run_go(["mod", "download", "-json", f"{module}@{version}"], directory=Path(scratch)))
        if found.get("Sum") != checksum:
            raise ToolchainError(
                f"{module}@{version} has the hash {found.get('Sum')}, but {checksum} is pinned: the archive is not the "
                "one that was reviewed. Nothing was built from it."
            )
        note.write_text(json.dumps({"directory": found["Dir"], "checksum": checksum}))
        return Path(found["Dir"])


def _read_note(note: Path, *, checksum: str) -> Path | None:
    try:
        known = json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    directory = Path(str(known.get("directory")))
    return directory if known.get("checksum") == checksum and directory.is_dir() else None


def gateway_api_crds() -> Path:
    """Directory with the standard-channel resource definitions of the Gateway API, one YAML file each.

    Raises:
        ToolchainError: the module cannot be had.
    """
    module = module_directory("sigs.k8s.io/gateway-api", GATEWAY_API_VERSION, checksum=_GATEWAY_API_CHECKSUM)
    return module / "config" / "crd" / "standard"


def istio_crds() -> Path:
    """File with Istio's resource definitions. Istio itself cannot be built from modules; its definitions are there.

    Raises:
        ToolchainError: the module cannot be had.
    """
    module = module_directory("istio.io/istio", ISTIO_VERSION, checksum=_ISTIO_CHECKSUM)
    return module / "manifests" / "charts" / "base" / "files" / "crd-all.gen.yaml"


def cloudnative_pg_crds() -> Path:
    """Directory with CloudNativePG's resource definitions.

    Raises:
        ToolchainError: the module cannot be had.
    """
    module = "github.com/cloudnative-pg/cloudnative-pg"
    return module_directory(module, CLOUDNATIVE_PG_VERSION, checksum=_CLOUDNATIVE_PG_CHECKSUM) / "config/crd/bases"


def csi_addons_crds() -> Path:
    """Directory with the resource definitions of csi-addons, VolumeReplication among them.

    Raises:
        ToolchainError: the module cannot be had.
    """
    module = "github.com/csi-addons/kubernetes-csi-addons"
    return module_directory(module, CSI_ADDONS_VERSION, checksum=_CSI_ADDONS_CHECKSUM) / "config/crd/bases"


def kubevirt_crds() -> list[dict[str, Any]]:
    """The definitions of VirtualMachine and VirtualMachineInstance.

    KubeVirt ships none as files: its operator makes them of the schemas in its source, and here it is done in the same
    way (`NewVirtualMachineCrd`, `NewVirtualMachineInstanceCrd`).

    Raises:
        ToolchainError: the module cannot be had, or its schemas are not where they were.
    """
    module = module_directory("kubevirt.io/kubevirt", KUBEVIRT_VERSION, checksum=_KUBEVIRT_CHECKSUM)
    source = (module / "pkg/virt-operator/resource/generate/components/validations_generated.go").read_text()
    return [
        _kubevirt_crd(source, kind="VirtualMachine", subresources={"status": {}}),
        _kubevirt_crd(source, kind="VirtualMachineInstance", subresources={}),
    ]


def _kubevirt_crd(source: str, *, kind: str, subresources: dict[str, Any]) -> dict[str, Any]:
    singular = kind.lower()
    found = re.search(rf'^\t"{singular}": `([^`]*)`,$', source, re.MULTILINE)
    if found is None:
        raise ToolchainError(f"KubeVirt {KUBEVIRT_VERSION} has no schema of {kind} where it used to be")
    schema = yaml.load(found[1], Loader=yaml.CSafeLoader)
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": subresources}
    names = {"plural": f"{singular}s", "singular": singular, "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.kubevirt.io"},
        "spec": {"group": "kubevirt.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
