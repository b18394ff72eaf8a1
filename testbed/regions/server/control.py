"""The control channel of a region: a Unix socket with one JSON object a line, in both directions.

A Unix socket is reached from any network namespace and is not touched by any fault of the network. Each answer carries
the monotonic time at which the change took effect; that clock is the same for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from testbed.regions.server.behaviour import Answers, Behaviour

_ANSWERS = ("status", "delay", "body", "error_percent", "hang_up_percent")


class Control:
    """Carries out commands on a `Behaviour`."""

    def __init__(self, behaviour: Behaviour, *, use_certificate: Callable[[str], None]) -> None:
        self._behaviour = behaviour
        self._use_certificate = use_certificate
        self._load = (behaviour.errors, behaviour.free)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of one connection until it is closed."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._reply(line)).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line)
            extra = self._do(command.pop("do"), command)
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {"at": time.monotonic(), **extra}

    def _do(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        behaviour = self._behaviour
        match name:
            case "answer":
                self._answer(arguments)
            case "load":
                behaviour.errors, behaviour.free = float(arguments["errors"]), float(arguments["free"])
            case "idle-close":
                behaviour.idle_close = arguments["seconds"]
            case "serving":
                behaviour.services[arguments["service"]] = bool(arguments["serving"])
            case "certificate":
                self._use_certificate(arguments["which"])
            case "close-idle":
                for connection in list(behaviour.connections):
                    connection.close_if_idle()
            case "goaway":
                for connection in list(behaviour.connections):
                    connection.say_goodbye()
            case "heal":
                behaviour.health, behaviour.traffic = Answers(), Answers()
                behaviour.errors, behaviour.free = self._load
                behaviour.idle_close = None
                behaviour.services.update(dict.fromkeys(behaviour.services, True))
                self._use_certificate("valid")
            case "counters":
                return {
                    **behaviour.requests,
                    "connections_accepted": behaviour.connections_accepted,
                    "connections_open": len(behaviour.connections),
                }
            case _:
                raise ValueError(f"no such command: {name!r}")
        return {}

    def _answer(self, arguments: dict[str, Any]) -> None:
        """Change how health paths, the other paths, or all of them answer."""
        scope = arguments.pop("scope")
        if scope not in {"all", "health", "traffic"}:
            raise ValueError(f"no such scope: {scope!r}")
        if unknown := set(arguments) - set(_ANSWERS):
            raise ValueError(f"no such settings: {sorted(unknown)}")
        for kind in ("health", "traffic"):
            if scope in {"all", kind}:
                for key, value in arguments.items():
                    setattr(getattr(self._behaviour, kind), key, value)
