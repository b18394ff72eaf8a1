"""The admission webhook: tells the API server what to write into a Failover about who asked for it.

Served by every replica, leading or not, over TLS. It decides nothing and knows nothing, so that it may be called by
anybody; that only true names are kept is seen to by the chart's ValidatingAdmissionPolicy. The API server goes on
without an answer (`failurePolicy: Ignore`): nothing at admission stands in the way of a failover.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web

from regent.engine.stamping import stamps

log = logging.getLogger("regent.admission")

PATH = "/stamp"
MAX_QUESTION = 8 * 1024 * 1024
"""Bytes: a question carries the object twice, and etcd takes objects of 1.5 MiB at most."""
LOOK = 10.0
"""Seconds between two looks whether the certificate was renewed."""


class AdmissionServer:
    """Answers at `address` ("host:port") until cancelled.

    Args:
        certificate: path of the PEM file of the serving certificate; read again when it has changed.
        key: path of its private key.
    """

    def __init__(self, address: str, *, certificate: str, key: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]") or None, int(port)
        self._certificate, self._key = Path(certificate), Path(key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded: tuple[int, ...] = ()
        self._app = web.Application(client_max_size=MAX_QUESTION)
        self._app.router.add_post(PATH, _answer)
        self.listening = asyncio.Event()
        self.bound = ("", 0)
        """Where it listens, once it does: the port matters when the address asked for port 0."""

    async def run(self) -> None:
        """Serve until cancelled. Without a usable certificate it waits for one, and the operator works without it.

        Raises:
            OSError: the address is taken or not ours.
        """
        while not self._load():  # noqa: ASYNC110 - nobody tells that the kubelet has put the files there
            await asyncio.sleep(LOOK)
        runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port, ssl_context=self._context)
            await site.start()
            self.bound = runner.addresses[0][:2]
            self.listening.set()
            log.info("Serving admission", extra={"address": f"{self.bound[0]}:{self.bound[1]}"})
            while True:
                await asyncio.sleep(LOOK)
                self._load()
        finally:
            await runner.cleanup()

    def _load(self) -> bool:
        """Take the certificate as it is now; say whether there is one. New connections get the new one."""
        try:
            found = tuple(path.stat().st_mtime_ns for path in (self._certificate, self._key))
            if found != self._loaded:
                self._context.load_cert_chain(self._certificate, self._key)
                self._loaded = found
        except OSError as error:  # ssl.SSLError is one: the files may be half written at this moment
            log.warning("The certificate of the admission webhook cannot be used: %s", error)
        return bool(self._loaded)


async def _answer(request: web.Request) -> web.Response:
    try:
        question = (await request.json())["request"]
        response: dict[str, Any] = {"uid": str(question["uid"]), "allowed": True}
        if patch := stamps(question):
            text = json.dumps(patch).encode()
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(text).decode()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise web.HTTPBadRequest(text="not an AdmissionReview of admission.k8s.io/v1") from None
    return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
