"""Which programs the testbed builds: module, version, linker variables, and where their go.mod comes from.

Two ways of getting a go.mod, because upstream modules differ. Kubernetes and etcd have a small go.mod of our own,
committed with its go.sum. Traefik, Helm and external-dns only resolve from the go.mod of their own release (a fresh one
would load the whole module graph, parts of which have vanished): theirs is derived at build time from the archive,
whose hash is pinned here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

MODULES = Path(__file__).parent / "modules"
OLDEST_GO = (1, 26, 0)
"""The oldest Go release that every module here accepts."""


@dataclass(frozen=True, slots=True)
class CommittedModule:
    """A go.mod and go.sum of our own in `modules/<directory>`; go.sum pins every hash."""

    directory: str


@dataclass(frozen=True, slots=True)
class DerivedModule:
    """The go.mod and go.sum of the tool's own release, found in its module archive.

    `checksum` is the archive's `h1:` hash; the build refuses any other. `replacements` maps an import path to a
    directory under `modules/` that stands in for a module which the archive leaves out.
    """

    checksum: str
    replacements: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: what to build and how long the first build takes on two cores, in seconds."""

    name: str
    module: str
    version: str
    package: str
    source: CommittedModule | DerivedModule
    first_build_seconds: int
    variables: Mapping[str, str] = field(default_factory=dict)
    """Linker variables (`-X name=value`); mostly the version that the program reports of itself."""

    @property
    def linker_flags(self) -> str:
        """The `-ldflags` value: no symbol table, no debug data, and the variables."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in sorted(self.variables.items()))])


KUBERNETES = "v1.36.3"
ETCD = "v3.6.14"
TRAEFIK = "v3.7.10"
HELM = "v4.3.1"
EXTERNAL_DNS = "v0.21.0"
EXTERNAL_DNS_CHECKSUM = "h1:YAC7ERW32eZAjSdhu44taaZGII6nwz2/wteT+BtpFzM="


def _kubernetes_version_variables() -> dict[str, str]:
    """Both packages want it: without them `kubectl version` fails and Helm refuses charts with a kubeVersion."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {
        "gitVersion": KUBERNETES,
        "gitMajor": major,
        "gitMinor": minor,
        "gitCommit": f"module-{KUBERNETES}",
        "gitTreeState": "clean",
        "buildDate": "2026-07-22T18:07:38Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in values.items()}


def _kubernetes(name: str, *, seconds: int) -> Tool:
    return Tool(
        name=name,
        module="k8s.io/kubernetes",
        version=KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        source=CommittedModule("kubernetes"),
        variables=_kubernetes_version_variables(),
        first_build_seconds=seconds,
    )


CSI_ADDONS = "v0.14.0"

_ALL = (
    Tool(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        version=ETCD,
        package="go.etcd.io/etcd/server/v3",
        source=CommittedModule("etcd"),
        first_build_seconds=40,
    ),
    _kubernetes("kube-apiserver", seconds=200),
    _kubernetes("kube-controller-manager", seconds=60),
    _kubernetes("kubectl", seconds=20),
    Tool(
        name="traefik",
        module="github.com/traefik/traefik/v3",
        version=TRAEFIK,
        package="github.com/traefik/traefik/v3/cmd/traefik",
        source=DerivedModule(
            checksum="h1:M1nA8OnQy59LqfDtEpsmXfAtth9NrmXdC2i+miAWgI4=",
            replacements=(("github.com/traefik/traefik/dynamic/ext", "traefik/ext"),),
        ),
        variables={"github.com/traefik/traefik/v3/pkg/version.Version": TRAEFIK.removeprefix("v")},
        first_build_seconds=540,
    ),
    Tool(
        name="csi-addons-manager",
        module="github.com/csi-addons/kubernetes-csi-addons",
        version=CSI_ADDONS,
        package="github.com/csi-addons/kubernetes-csi-addons/cmd/manager",
        source=DerivedModule(checksum="h1:aH4w1X9z6eOqbKvh9Q4M0YzksaUgQDU3aTU/fblG4yI="),
        first_build_seconds=150,
    ),
    Tool(
        name="helm",
        module="helm.sh/helm/v4",
        version=HELM,
        package="helm.sh/helm/v4/cmd/helm",
        source=DerivedModule(checksum="h1:UndCoLe9UPmNoL7IvWzaUXveL7T5t/ijoorEmgJdI9g="),
        variables={"helm.sh/helm/v4/internal/version.version": HELM},
        first_build_seconds=90,
    ),
    Tool(
        name="external-dns",
        module="sigs.k8s.io/external-dns",
        version=EXTERNAL_DNS,
        package="sigs.k8s.io/external-dns",
        source=DerivedModule(checksum=EXTERNAL_DNS_CHECKSUM),
        variables={"sigs.k8s.io/external-dns/pkg/apis/externaldns.Version": EXTERNAL_DNS},
        first_build_seconds=200,
    ),
)

TOOLS: Mapping[str, Tool] = MappingProxyType({tool.name: tool for tool in _ALL})
"""Every program by name, in the order in which to build them."""
