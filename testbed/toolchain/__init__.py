"""The programs of the testbed, built once from pinned Go modules and kept in a cache.

`ensure` gives the path of one program and builds it first where needed; `gateway_api_crds` gives the directory
of the Gateway API's resource definitions. `testbed.controlplane` is the main user.
"""

from testbed.toolchain.catalog import TOOLS, Tool
from testbed.toolchain.errors import ToolchainError
from testbed.toolchain.store import control_plane_binary, ensure, ensure_all
from testbed.toolchain.upstream import (
    cloudnative_pg_crds,
    csi_addons_crds,
    gateway_api_crds,
    istio_crds,
    kubevirt_crds,
    module_directory,
)

__all__ = [
    "TOOLS",
    "Tool",
    "ToolchainError",
    "cloudnative_pg_crds",
    "control_plane_binary",
    "csi_addons_crds",
    "ensure",
    "ensure_all",
    "gateway_api_crds",
    "istio_crds",
    "kubevirt_crds",
    "module_directory",
]
