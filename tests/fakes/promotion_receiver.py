"""A receiver of HTTP promotion steps, as a user would write it from the reference."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.receiver import Message, is_signed
from tests.fakes.wire import response
from tests.fakes.world import AP, EU, US

KEY = b"0123456789abcdef0123456789abcdef"


def answer(body: object, status: str = "200 OK") -> bytes:
    return response(json.dumps(body).encode(), status=status, headers="Content-Type: application/json\r\n")


class Database:
    """A receiver as a user would write it from the reference: two regions, a kept fence, repeats by identifier."""

    def __init__(self) -> None:
        self.roles = {EU: "Active", US: "Standby", AP: "Standby"}
        self.fence = (0, 0, 0)
        self.done: list[tuple[str, str]] = []
        self._seen: dict[str, bytes] = {}
        self.lose_answers = 0
        self.behind = 0
        self.broken: dict[str, str] = {}

    def __call__(self, message: Message) -> bytes:
        if not is_signed(message, KEY):
            return answer({"message": "who are you?"}, "401 Unauthorized")
        identifier = message.headers["webhook-id"]
        if identifier not in self._seen:
            self._seen[identifier] = self._act(message.json)
        if message.json["action"] == "promote" and self.lose_answers:
            self.lose_answers -= 1
            return b"HTTP/1.1 200"  # cut off: done, but nobody knows
        return self._seen[identifier]

    def _act(self, request: dict[str, Any]) -> bytes:
        region = request["region"]
        if request["action"] == "observe":
            seen = {"role": self.roles[region], "position": 42, "history": "3", "lagSeconds": 0.5}
            return answer({**seen, "snapshot": {"tier": "gold"}})
        if request["action"] in self.broken:
            return answer({"message": self.broken[request["action"]]}, "422 Unprocessable")
        if request["action"] == "sync":
            return answer({"done": not self.behind, "behind": self.behind})
        fence = tuple(map(int, request["fence"].split(".")))
        if fence < self.fence:
            return answer({"message": "late", "fence": ".".join(map(str, self.fence))}, "409 Conflict")
        self.fence = fence  # type: ignore[assignment]
        self.done.append((request["action"], region))
        wanted = {"promote": "Active", "demote": "Standby", "restore": request.get("snapshot", {}).get("role")}
        self.roles[region] = wanted[request["action"]]
        return response(b"", status="204 No Content")
