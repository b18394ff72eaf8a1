"""The agent's endpoint for databases that are about to accept writes: `GET /may-promote/NAMESPACE/POLICY/STEP`.

The status is the answer, so that `curl --fail` is enough of a client: 200 yes, 403 no, 503 not yet (which `curl
--retry` tries again). The body says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from regent.domain.failover.guarding import Answer, Leave
from regent.server.operational import Handler

_LABEL = r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"
PATH = f"/may-promote/{{namespace:{_LABEL}}}/{{policy:{_LABEL}}}/{{step:{_LABEL}}}"

_STATUS = {Leave.YES: 200, Leave.NO: 403, Leave.NOT_YET: 503}


def permission_route(ask: Callable[[str, str, str], Awaitable[Answer]]) -> dict[str, Handler]:
    """The route for `OperationalServer`. `ask` gets namespace, policy and step."""

    async def answer(request: web.Request) -> web.Response:
        found = await ask(*(request.match_info[name] for name in ("namespace", "policy", "step")))
        headers = {"Retry-After": "1"} if found.leave is Leave.NOT_YET else {}
        return web.Response(status=_STATUS[found.leave], text=f"{found.leave.value}: {found.reason}\n", headers=headers)

    return {PATH: answer}
