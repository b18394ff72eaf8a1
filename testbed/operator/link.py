"""The way from a process to an API server, which can be cut and healed like a network.

A relay on a port of its own passes bytes on as they are, so TLS and credentials stay end to end. While it is cut,
nothing is passed on and nothing is refused: connections stand open in silence, as after a pulled cable.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import yaml

CHUNK = 65_536


class Link:
    """A relay to the API server of `kubeconfig`. `kubeconfig` of the link leads through it.

    `listener`: where it is dialled, when that is not here: a socket inside another network namespace.
    """

    def __init__(self, kubeconfig: Path, directory: Path, *, listener: socket.socket | None = None) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        [cluster] = config["clusters"]
        server = urlsplit(cluster["cluster"]["server"])
        self._target = (server.hostname or "", server.port or 443)
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        address, port = self._listener.getsockname()
        cluster["cluster"]["server"] = f"https://{address}:{port}"
        cluster["cluster"].setdefault("tls-server-name", server.hostname)
        # Two namespaces may give out the same port.
        self.kubeconfig = directory / f"link-{port}-{secrets.token_hex(3)}.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.kubeconfig.chmod(0o600)
        self._whole = threading.Event()
        self._whole.set()
        self._stopped = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def cut(self) -> float:
        """Stop passing on; give the monotonic time."""
        self._whole.clear()
        return time.monotonic()

    def heal(self) -> float:
        """Pass on again, also what has waited; give the monotonic time."""
        self._whole.set()
        return time.monotonic()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if not self._whole.wait(timeout=0.05):
                continue
            for key, _ in self._selector.select(timeout=0.05):
                if not self._whole.is_set():
                    break
                if key.fileobj is self._listener:
                    self._connect()
                else:
                    self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target, timeout=2)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(5)
            self._selector.register(one, selectors.EVENT_READ, other)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = source.recv(CHUNK)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
