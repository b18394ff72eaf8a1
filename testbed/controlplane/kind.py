"""A cluster made by kind, for those who have Docker and want nodes and pods; `REGENT_CLUSTER=kind` asks for it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.controlplane.cluster import Cluster
from testbed.controlplane.components import ControlPlaneError

NODE_IMAGE = "kindest/node:v1.36.3"
_PREFIX = "regent-"
_READY_TIMEOUT = "180s"


def create_command(name: str, *, kubeconfig: Path, config: Path | None, image: str = NODE_IMAGE) -> list[str]:
    """`kind create cluster` that writes into a kubeconfig of its own, never into the user's."""
    command = ["kind", "create", "cluster", "--name", f"{_PREFIX}{name}", "--image", image]
    command += ["--kubeconfig", str(kubeconfig), "--wait", _READY_TIMEOUT]
    return command if config is None else [*command, "--config", str(config)]


def delete_command(name: str, *, kubeconfig: Path) -> list[str]:
    """`kind delete cluster` of the cluster that `create_command` made."""
    return ["kind", "delete", "cluster", "--name", f"{_PREFIX}{name}", "--kubeconfig", str(kubeconfig)]


def logs_command(name: str, *, directory: Path) -> list[str]:
    """`kind export logs` into `directory`."""
    return ["kind", "export", "logs", str(directory), "--name", f"{_PREFIX}{name}"]


def require_kind() -> None:
    """Check that kind can run here.

    Raises:
        ControlPlaneError: `kind` or `docker` is missing, or Docker's daemon does not answer; says what to do.
    """
    instead = "or unset REGENT_CLUSTER to use the local control plane, which needs neither."
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise ControlPlaneError(f"a kind cluster needs `{program}` on the PATH: install it, {instead}")
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False, timeout=30)
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines()
        reason = lines[-1] if lines else "no answer"
        raise ControlPlaneError(f"Docker's daemon does not answer ({reason}): start it, {instead}")


def create(*, name: str, kubeconfig: Path, config: Path | None) -> None:
    """Create a cluster and leave it running; one that did not come up is deleted again.

    Raises:
        ControlPlaneError: kind or Docker is missing, or the cluster did not come up.
    """
    require_kind()
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    print(f"creating the kind cluster {_PREFIX}{name} (it may pull an image first)", file=sys.stderr, flush=True)
    try:
        _run(create_command(name, kubeconfig=kubeconfig, config=config))
    except BaseException:
        subprocess.run(delete_command(name, kubeconfig=kubeconfig), capture_output=True, check=False)
        raise


class KindCluster(Cluster):
    """A kind cluster; as a context manager it is deleted at the end, its logs exported where the body raised."""

    @classmethod
    def start(cls, *, name: str = "test", workdir: Path | None = None, config: Path | None = None) -> Self:
        """Create the cluster and return when its node is ready.

        Raises:
            ControlPlaneError: kind or Docker is missing, or the cluster did not come up.
        """
        require_kind()
        directory = workdir or Path(tempfile.mkdtemp(prefix=f"regent-kind-{name}-"))
        kubeconfig = directory / "admin.kubeconfig"
        create(name=name, kubeconfig=kubeconfig, config=config)
        return cls(name=name, kubeconfig=kubeconfig, directory=directory)

    def stop(self, *, keep_logs: bool = False) -> Path | None:
        """Delete the cluster; gives the directory of the exported logs where they are kept."""
        kept = None
        if keep_logs:
            kept = Path(tempfile.mkdtemp(prefix=f"regent-kind-logs-{self.name}-"))
            _run(logs_command(self.name, directory=kept))
            print(f"logs of the kind cluster {self.name} are kept in {kept}", file=sys.stderr, flush=True)
        self.api.close()
        _run(delete_command(self.name, kubeconfig=self.kubeconfig))
        shutil.rmtree(self.directory, ignore_errors=True)
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep_logs=kind is not None and not issubclass(kind, KeyboardInterrupt | SystemExit))


def _run(command: Sequence[str]) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ControlPlaneError(f"`{' '.join(command)}` failed:\n{answer.stderr.strip()}")
