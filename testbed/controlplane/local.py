"""A control plane of plain processes on this machine: starts in seconds, leaves nothing behind."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.controlplane import registry, settings
from testbed.controlplane.api import ApiError
from testbed.controlplane.certificates import CertificateAuthority, signing_keys, write_secret
from testbed.controlplane.cluster import Cluster
from testbed.controlplane.components import Component, ComponentProcess, ControlPlaneError
from testbed.controlplane.kubeconfig import Access
from testbed.controlplane.settings import Layout
from testbed.paths import cache_root
from testbed.toolchain import control_plane_binary

_START_TIMEOUT = 60.0
_PORT_TRIES = 3
_LOOPBACK = "127.0.0.1"
_DOCUMENTATION_ADDRESS = "192.0.2.1"
"""Advertised where nothing else is given: the API server refuses loopback, and no client ever dials this one."""


class ControlPlane(Cluster):
    """etcd, kube-apiserver and kube-controller-manager of one cluster; make it with `ControlPlane.start`.

    As a context manager it stops at the end, and keeps its logs where the body raised.
    """

    def __init__(self, *, name: str, layout: Layout, netns: str | None, advertise: str, port: int) -> None:
        super().__init__(name=name, kubeconfig=layout.kubeconfig, directory=layout.directory)
        self.layout = layout
        self.netns = netns
        self.ready_seconds = 0.0
        self._advertise = advertise
        self._port = port
        self._processes: dict[Component, ComponentProcess] = {}

    @classmethod
    def start(
        cls,
        *,
        name: str = "test",
        workdir: Path | None = None,
        netns: str | None = None,
        advertise_address: str | None = None,
        timeout: float = _START_TIMEOUT,
    ) -> Self:
        """Start a control plane and return when it serves; programs that are not there are built first.

        Args:
            name: for people; several clusters may have the same.
            workdir: an empty or missing directory for its data and logs, removed at the end; by default one in the
                testbed's cache directory.
            netns: name of a network namespace to run in. The API server is then reached at `advertise_address`,
                which must be an address of that namespace that this process can reach.
            advertise_address: the address that the cluster's own `kubernetes` Service names. Not loopback.
            timeout: seconds until each program must be ready.

        Raises:
            ControlPlaneError: a program ended or was not ready in time; the logs are kept.
            ToolchainError: a program cannot be had.
        """
        if netns is not None and advertise_address is None:
            raise ValueError("a control plane in a network namespace needs an advertise_address to be reached at")
        programs = {component: control_plane_binary(component.value) for component in Component}
        registry.reap()
        for attempt in range(_PORT_TRIES):
            layout = Layout(_make_directory(name, workdir))
            port = _free_port()
            _write_secrets(layout, name=name, host=advertise_address if netns else _LOOPBACK, port=port)
            plane = cls(
                name=name,
                layout=layout,
                netns=netns,
                advertise=advertise_address or _DOCUMENTATION_ADDRESS,
                port=port,
            )
            try:
                plane._boot(programs, timeout=timeout)
            except BaseException as error:
                # Between choosing a port and listening on it anybody may take it: then another one is chosen.
                taken = isinstance(error, ControlPlaneError) and "address already in use" in str(error)
                plane.stop(keep_logs=not taken)
                if not taken or attempt == _PORT_TRIES - 1:
                    raise
            else:
                return plane
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _boot(self, programs: dict[Component, Path], *, timeout: float) -> None:
        began = time.monotonic()
        self._programs = programs
        self._record()
        etcd = self._launch(Component.ETCD, settings.etcd_command(programs[Component.ETCD], self.layout))
        etcd.wait_ready(lambda: _accepts(self.layout.etcd_socket), timeout=timeout)
        self.start_apiserver(timeout=timeout)
        manager = self._launch(
            Component.CONTROLLER_MANAGER,
            settings.controller_manager_command(programs[Component.CONTROLLER_MANAGER], self.layout),
        )
        # Pods are refused in a namespace without its default ServiceAccount, which the controller manager makes.
        manager.wait_ready(self._has_default_service_account, timeout=timeout)
        self.ready_seconds = time.monotonic() - began

    def start_apiserver(self, *, timeout: float = _START_TIMEOUT) -> None:
        """Start the API server on the same port, with the same data, and return when it serves.

        Raises:
            ControlPlaneError: it ended, or was not ready after `timeout` seconds.
        """
        command = settings.api_server_command(
            self._programs[Component.API_SERVER],
            self.layout,
            bind_address="0.0.0.0" if self.netns else _LOOPBACK,
            advertise_address=self._advertise,
            port=self._port,
        )
        self._launch(Component.API_SERVER, command).wait_ready(self.is_ready, timeout=timeout)

    def stop_apiserver(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End the API server (SIGTERM: politely; SIGKILL: as in a crash) and return when it has ended."""
        self._processes[Component.API_SERVER].end(how=how)

    def restart_apiserver(self, *, how: signal.Signals = signal.SIGTERM) -> float:
        """Stop and start the API server; gives the seconds from the signal until it served again."""
        began = time.monotonic()
        self.stop_apiserver(how=how)
        self.start_apiserver()
        return time.monotonic() - began

    def freeze(self, component: Component = Component.API_SERVER) -> None:
        """Stop a program where it stands (SIGSTOP), until `thaw`."""
        self._processes[component].freeze()

    def thaw(self, component: Component = Component.API_SERVER) -> None:
        """Let a frozen program go on."""
        self._processes[component].thaw()

    def process(self, component: Component) -> ComponentProcess:
        """The running program, for its process id and its log."""
        return self._processes[component]

    def stop(self, *, keep_logs: bool = False) -> Path | None:
        """End all programs and remove the working directory; gives the directory of the logs where they are kept.

        Kept logs move to the testbed's cache directory, where the last twenty stay. Stopping twice is fine.
        """
        for started in self._processes.values():
            started.thaw()  # the API server cannot end while etcd is frozen
        # etcd last: without it an API server does not end on SIGTERM but retries until it is killed.
        for component in (Component.CONTROLLER_MANAGER, Component.API_SERVER, Component.ETCD):
            process = self._processes.pop(component, None)
            if process is not None:
                process.end()
        self.api.close()
        kept = _keep_logs(self.layout) if keep_logs else None
        if registry.is_ours(self.layout.directory):
            shutil.rmtree(self.layout.directory, ignore_errors=True)
        self._record_path.unlink(missing_ok=True)
        if kept is not None:
            print(f"logs of the control plane {self.name} are kept in {kept}", file=sys.stderr, flush=True)
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep_logs=kind is not None and not issubclass(kind, KeyboardInterrupt | SystemExit))

    def _launch(self, component: Component, command: list[str]) -> ComponentProcess:
        log = self.layout.logs / f"{component.value}.log"
        process = ComponentProcess(component, command, log=log, netns=self.netns)
        self._processes[component] = process
        self._record()
        return process

    def _has_default_service_account(self) -> bool:
        try:
            self.api.get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    @property
    def _record_path(self) -> Path:
        return registry.records_directory() / f"{self.layout.directory.name}.json"

    def _record(self) -> None:
        programs = []
        for process in self._processes.values():
            # One that has ended is no longer ours to remember; who waits for it reports its end.
            with contextlib.suppress(ProcessLookupError):
                programs.append(registry.ProcessIdentity.of(process.pid, process.argv))
        registry.Record(
            name=self.name,
            directory=self.layout.directory,
            owner=registry.own_identity(),
            programs=tuple(programs),
            kubeconfig=self.kubeconfig,
        ).write(self._record_path)


def _make_directory(name: str, workdir: Path | None) -> Path:
    """A directory for its owner only, with the mark that lets us remove it."""
    if workdir is None:
        safe = re.sub(r"[^a-z0-9-]+", "-", name.lower())[:24]
        workdir = registry.records_directory() / f"{safe}-{os.getpid()}-{secrets.token_hex(3)}"
    elif workdir.exists() and any(workdir.iterdir()):
        raise ValueError(f"{workdir} is not empty: give a control plane a directory of its own, it will be removed")
    workdir = workdir.absolute()
    if len(os.fsencode(Layout(workdir).etcd_socket)) > 107:
        raise ValueError(f"{workdir} is too long a path for a socket in it (107 bytes at most): give a shorter one")
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (workdir / registry.MARKER).touch()
    return workdir


def _write_secrets(layout: Layout, *, name: str, host: str | None, port: int) -> None:
    authority = CertificateAuthority(common_name=f"regent testbed {name}")
    pki = layout.certificates
    pki.mkdir(mode=0o700)
    (pki / "ca.crt").write_bytes(authority.certificate)
    address = host or _LOOPBACK
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    addresses = [_LOOPBACK, settings.KUBERNETES_SERVICE_ADDRESS, address]
    authority.server(names=names, addresses=addresses).write(pki, "apiserver")
    private, public = signing_keys()
    write_secret(pki / "service-accounts.key", private)
    (pki / "service-accounts.pub").write_bytes(public)
    server = f"https://{address}:{port}"
    admin = authority.client(user="testbed-admin", groups=["system:masters"])
    Access(server=server, authority=authority.certificate, client=admin).write(layout.kubeconfig, name=name)
    manager = authority.client(user="system:kube-controller-manager")
    Access(server=server, authority=authority.certificate, client=manager).write(
        layout.controller_manager_kubeconfig, name=name
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _keep_logs(layout: Layout) -> Path | None:
    if not layout.logs.is_dir():
        return None
    shelf = cache_root() / "logs"
    shelf.mkdir(exist_ok=True)
    kept = shelf / layout.directory.name
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(layout.logs, kept)
    for old in sorted(shelf.iterdir(), key=lambda entry: entry.stat().st_mtime)[:-20]:
        shutil.rmtree(old, ignore_errors=True)
    return kept
