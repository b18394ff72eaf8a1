"""Real Kubernetes control planes on one machine: etcd, API server and controller manager as plain processes.

    with ControlPlane.start(name="eu") as cluster:
        cluster.install_crds(Path("crds"))
        cluster.apply(manifests)

`start_cluster` obeys `REGENT_CLUSTER` (`local`, the default, or `kind`). Everything blocks; from asyncio call it in a
thread. Built on `testbed.toolchain` (the programs) and `testbed.network.processes` (children that die with us).
"""

from testbed.controlplane.api import ApiClient, ApiError
from testbed.controlplane.cluster import Cluster
from testbed.controlplane.components import Component, ControlPlaneError
from testbed.controlplane.local import ControlPlane
from testbed.controlplane.select import start_cluster

__all__ = ["ApiClient", "ApiError", "Cluster", "Component", "ControlPlane", "ControlPlaneError", "start_cluster"]
