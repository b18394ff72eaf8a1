"""Chooses what runs a cluster: plain processes, or kind where `REGENT_CLUSTER` asks for it."""

import os
from pathlib import Path

from testbed.controlplane.kind import KindCluster
from testbed.controlplane.local import ControlPlane


def start_cluster(*, name: str = "test", workdir: Path | None = None) -> ControlPlane | KindCluster:
    """Start a cluster as `REGENT_CLUSTER` says: `local` (default) or `kind`.

    Raises:
        ValueError: `REGENT_CLUSTER` has another value.
        ControlPlaneError: it did not start.
        ToolchainError: a program it needs cannot be had.
    """
    choice = os.environ.get("REGENT_CLUSTER", "") or "local"
    if choice == "local":
        return ControlPlane.start(name=name, workdir=workdir)
    if choice == "kind":
        return KindCluster.start(name=name, workdir=workdir)
    raise ValueError(f"REGENT_CLUSTER is {choice!r}: use `local` (the default) or `kind`")
