"""A receiver of signed messages on loopback, and the check of its signatures as the specification words it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from tests.fakes.wire import Peer, WireServer, response

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
Answering = Callable[["Message"], bytes]


class Message(NamedTuple):
    """One request as it came in."""

    number: int
    head: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver(WireServer):
    """Keeps what it is sent and answers with what `answer` makes of it (bytes of a whole HTTP answer)."""

    def __init__(self, answer: Answering = lambda _: response(b"{}"), *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._serve, tls=tls)
        self._answer = answer
        self.messages: list[Message] = []
        self.release = asyncio.Event()
        self.release.set()
        self.busy = 0
        self.busiest = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, peer: Peer) -> None:
        async for raw in peer.requests():
            message = await self._read(peer, raw)
            self.messages.append(message)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            try:
                await self.release.wait()
                await peer.send(self._answer(message))
            finally:
                self.busy -= 1

    async def _read(self, peer: Peer, raw: bytes) -> Message:
        head, *fields = raw.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await peer.reader.readexactly(int(headers.get("content-length", "0")))
        return Message(number=len(self.messages) + 1, head=head, headers=headers, body=body)


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of an address where connections are refused: the port is held, so that nobody else begins to listen."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def check_event(event: object) -> None:
    """Fail unless the event is what the reference says, and holds nothing that the reference does not know."""
    schema = json.loads((REFERENCE / "receivers.schema.json").read_text(encoding="utf-8"))
    strict = {name: {**node, "additionalProperties": False} for name, node in schema["$defs"].items()}
    jsonschema.Draft202012Validator({"$ref": "#/$defs/Event", "$defs": strict}).validate(event)


def is_signed(message: Message, key: bytes) -> bool:
    """Verify as Standard Webhooks 1.0.0 tells receivers to: written from its text, not from the sender's code."""
    signed = b".".join([
        message.headers["webhook-id"].encode(), message.headers["webhook-timestamp"].encode(), message.body
    ])  # fmt: skip
    expected = hmac.digest(key, signed, hashlib.sha256)
    for entry in message.headers.get("webhook-signature", "").split(" "):
        version, _, signature = entry.partition(",")
        if version == "v1" and hmac.compare_digest(base64.b64decode(signature), expected):
            return True
    return False
