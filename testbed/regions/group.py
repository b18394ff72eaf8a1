"""Starts several simulated regions at once and stops them together."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.network import NetworkNamespaces
from testbed.regions.region import Region


class Regions:
    """Context manager: one region per name, all of one private CA, `regions["eu-west-1"]` is its handle.

    With a network each runs in the namespace of its name (which is added when missing); without one, on 127.0.0.1.
    `ca` is the CA's file, `client_certificate` one that the mTLS ports accept. Further options go to every `Region`.
    """

    def __init__(self, names: Iterable[str], *, network: NetworkNamespaces | None = None, **options: Any) -> None:
        self._names = tuple(names)
        self._network = network
        self._options = options
        self._members: dict[str, Region] = {}
        self._stack = ExitStack()
        self.ca = Path()
        self.client_certificate = Path()

    def __enter__(self) -> Regions:
        # Imported late: the servers import this package too and have no use for it.
        from testbed.regions.certificates import CertificateAuthority

        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-regions-")))
            authority = CertificateAuthority.create(directory)
            self.ca = authority.certificate
            self.client_certificate = authority.issue_client(directory / "client.pem", name="regent")
            for name in self._names:
                namespace = None if self._network is None else self._network.get(name) or self._network.add(name)
                address = "127.0.0.1" if namespace is None else namespace.address
                files = directory / name
                files.mkdir()
                (files / "ca.pem").write_bytes(self.ca.read_bytes())
                authority.issue_server(files / "valid.pem", name=name, address=address)
                authority.issue_server(
                    files / "expired.pem", name=name, address=address, valid_for=datetime.timedelta(hours=-1)
                )
                region = Region(name, certificates=files, namespace=namespace, **self._options)
                stack.callback(region.close)
                region.launch()
                self._members[name] = region
            for region in self:
                region.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._members.clear()

    def __getitem__(self, name: str) -> Region:
        return self._members[name]

    def __iter__(self) -> Iterator[Region]:
        return iter(self._members.values())

    def heal(self) -> None:
        """Undo every fault of every region."""
        for region in self:
            region.heal()
