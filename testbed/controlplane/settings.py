"""Command lines of the three programs, as plain data."""

from dataclasses import dataclass
from pathlib import Path

SERVICE_NETWORK = "10.0.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.0.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one control plane lies."""

    directory: Path

    @property
    def certificates(self) -> Path:
        """Certificates and keys."""
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.directory / "logs"

    @property
    def etcd_socket(self) -> Path:
        """etcd listens on a socket file only: no port to race for, and nobody else on this machine can get at it."""
        return self.directory / "etcd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    @property
    def controller_manager_kubeconfig(self) -> Path:
        """The controller manager's own kubeconfig."""
        return self.directory / "controller-manager.kubeconfig"


def etcd_command(program: Path, layout: Layout) -> list[str]:
    """etcd without fsync: the data never outlive the run, and the disk is the slowest part of it."""
    return [
        str(program),
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls=unix://{layout.etcd_socket}",
        "--advertise-client-urls=http://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def api_server_command(
    program: Path, layout: Layout, *, bind_address: str, advertise_address: str, port: int
) -> list[str]:
    """kube-apiserver with RBAC and all default admission, so that a test meets what production has."""
    pki = layout.certificates
    return [
        str(program),
        f"--etcd-servers=unix://{layout.etcd_socket}",
        f"--bind-address={bind_address}",
        f"--advertise-address={advertise_address}",
        f"--secure-port={port}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        # Open watches would otherwise hold up a polite end for a minute; with this they are told to go.
        "--shutdown-watch-termination-grace-period=200ms",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
    ]


def controller_manager_command(program: Path, layout: Layout) -> list[str]:
    """kube-controller-manager with all default controllers, alone, so without an election."""
    kubeconfig = layout.controller_manager_kubeconfig
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.certificates / 'service-accounts.key'}",
        f"--root-ca-file={layout.certificates / 'ca.crt'}",
        "--secure-port=0",
        # At the default of 20 requests a second it takes 5 s to begin and 5 s to empty a namespace.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
