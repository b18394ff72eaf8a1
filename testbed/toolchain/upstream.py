"""Module archives of other projects: fetched by the `go` command, checked against the hash that stands here.

Used for go.mod files of tools that only resolve from their own, and for resource definitions (CRDs) that other
projects ship inside their Go modules.
"""

import json
import tempfile
from pathlib import Path

from testbed.locks import file_lock
from testbed.paths import cache_root
from testbed.toolchain.errors import ToolchainError
from testbed.toolchain.golang import run_go

GATEWAY_API_VERSION = "v1.6.1"
_GATEWAY_API_CHECKSUM = "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY="
ISTIO_VERSION = "v0.0.0-20260827124520-eed52ebb66ad"
_ISTIO_CHECKSUM = "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI="


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
