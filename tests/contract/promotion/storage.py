"""A storage system with replicated volumes, and csi-addons' own controller in front of it.

The controller (the manager of kubernetes-csi-addons, as released) runs as a process beside each member's API server and
finds the storage as it does in a cluster: a CSIAddonsNode, a pod with an address, a Lease with its leader. The storage
is a gRPC server here that keeps, for each volume and region, whether it is primary and what has reached it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpclib
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from testbed.network.processes import spawn, stop
from testbed.toolchain import ensure
from tests.contract.promotion.regions import Member

DRIVER, POD, NAMESPACE = "storage.example.com", "storage-0", "regent-system"
CAPABILITIES = b"".join(b"\x0a\x04" + entry for entry in (b"\x0a\x02\x08\x01", b"\x22\x02\x08\x01"))
"""GetCapabilitiesResponse: CONTROLLER_SERVICE and VOLUME_REPLICATION."""
READY = b"\x08\x01"
"""ResyncVolumeResponse with ready."""


class Bytes(CodecBase):
    """Messages as they are: those used here have one field at most."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Volume:
    """One volume that is replicated between the regions."""

    def __init__(self) -> None:
        self.primary: set[str] = set()
        self.transferred = True
        """What the demoted side had last has reached the other side."""
        self.forced: list[str] = []
        """Regions that were promoted by force: what had not been transferred is lost."""


class Storage:
    """The storage as it is seen in one region."""

    def __init__(self, region: str, volume: Volume) -> None:
        self._region = region
        self._volume = volume
        self._server = Server([self], codec=Bytes())
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        await self._server.start("127.0.0.1", self.port)

    async def stop(self) -> None:
        """End."""
        self._server.close()
        await self._server.wait_closed()

    def __mapping__(self) -> dict[str, Handler]:
        methods: dict[str, Callable[[bytes], bytes]] = {
            "/identity.Identity/GetCapabilities": lambda _: CAPABILITIES,
            "/proto.Replication/EnableVolumeReplication": lambda _: b"",
            "/proto.Replication/DisableVolumeReplication": lambda _: b"",
            "/proto.Replication/PromoteVolume": self._promote,
            "/proto.Replication/DemoteVolume": self._demote,
            "/proto.Replication/ResyncVolume": lambda _: READY if self._volume.transferred else b"",
            "/proto.Replication/GetVolumeReplicationInfo": self._info,
        }
        return {
            path: Handler(_unary(answer), Cardinality.UNARY_UNARY, bytes, bytes) for path, answer in methods.items()
        }

    def _promote(self, request: bytes) -> bytes:
        if not self._volume.transferred:
            if b"\x18\x01" not in request:  # field 3, force
                raise grpclib.GRPCError(Status.FAILED_PRECONDITION, "not everything has been transferred")
            self._volume.forced.append(self._region)
        self._volume.primary.add(self._region)
        return b""

    def _demote(self, _: bytes) -> bytes:
        if self._region in self._volume.primary:
            self._volume.primary.discard(self._region)
            self._volume.transferred = False
        return b""

    def _info(self, _: bytes) -> bytes:
        seconds = _varint(int(time.time()) - 30)
        return b"\x0a" + bytes([len(seconds) + 1]) + b"\x08" + seconds + b"\x20\x01"  # last_sync_time, HEALTHY


class Controller:
    """csi-addons' manager beside one member's API server."""

    def __init__(self, member: Member, storage: Storage) -> None:
        self._member = member
        self._storage = storage
        self._process: Any = None

    def start(self) -> None:
        """Start it, and introduce the storage to it."""
        plane, log = self._member.plane, self._member.plane.directory / "csi-addons.log"
        command = [str(ensure("csi-addons-manager")), "--metrics-bind-address=0", "--health-probe-bind-address=0"]
        command += ["--enable-auth=false", f"--kubeconfig={plane.kubeconfig}", f"--namespace={NAMESPACE}"]
        with log.open("wb") as output:
            self._process = spawn(command, stdout=output, stderr=output, directory=log.parent)
        container = {"name": "sidecar", "image": "none"}
        named: dict[str, Any] = {"namespace": NAMESPACE, "name": POD}
        spec = {"driver": {"name": DRIVER, "endpoint": f"pod://{POD}.{NAMESPACE}:{self._storage.port}", "nodeID": "n"}}
        holder = {"holderIdentity": POD}
        lease = {"namespace": NAMESPACE, "name": DRIVER.replace(".", "-") + "-csi-addons"}
        pod = {"containers": [container], "nodeName": "away"}
        plane.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": pod}])
        address = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        plane.api.patch(f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}/status", {"status": address})
        plane.apply(
            [
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": lease, "spec": holder},
                {
                    "apiVersion": "csiaddons.openshift.io/v1alpha1",
                    "kind": "CSIAddonsNode",
                    "metadata": named,
                    "spec": spec,
                },
                {
                    "apiVersion": "replication.storage.openshift.io/v1alpha1",
                    "kind": "VolumeReplicationClass",
                    "metadata": {"name": "mirrored"},
                    "spec": {"provisioner": DRIVER, "parameters": {}},
                },
            ]
        )

    def stop(self) -> None:
        """End it, and take its objects away."""
        if self._process is not None:
            stop(self._process)


def _unary(answer: Callable[[bytes], bytes]) -> Callable[[Stream[bytes, bytes]], Awaitable[None]]:
    async def handle(stream: Stream[bytes, bytes]) -> None:
        request = await stream.recv_message()
        await asyncio.sleep(0)
        await stream.send_message(answer(request or b""))

    return handle


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
