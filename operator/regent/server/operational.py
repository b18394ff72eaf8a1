"""The operator's own HTTP endpoint: /healthz, /readyz, /metrics.

`/healthz` tells progress, not that a socket answers: each check names what has stood still and for how long, and the
kubelet restarts a process that has stopped getting on. `/readyz` tells that this replica knows the world: its watches
are in and it has probed everything once; also on a standby, which is warm and ready to lead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from regent.adapters.metrics import PrometheusMetrics
from regent.engine.ports import Clock

log = logging.getLogger("regent.http")

Check = Callable[[], str]
"""Returns "" when all is well, else what is wrong, in a few words."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Heartbeat:
    """Measures how late the event loop runs its timers: what keeps it busy delays every probe and decision."""

    INTERVAL = 0.5

    def __init__(self, *, clock: Clock, metrics: PrometheusMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self.lag = 0.0

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            started = self._clock.monotonic()
            await asyncio.sleep(self.INTERVAL)
            self.lag = max(0.0, self._clock.monotonic() - started - self.INTERVAL)
            self._metrics.gauge("regent_event_loop_lag_seconds", self.lag)


class OperationalServer:
    """Serves the endpoint at `address` ("host:port") until cancelled.

    Args:
        live: checks of /healthz by name.
        ready: checks of /readyz by name.
        before_scrape: sets gauges that are only worth computing when somebody looks.
        routes: what else is answered, by path.
    """

    def __init__(
        self,
        address: str,
        *,
        metrics: PrometheusMetrics,
        live: Mapping[str, Check],
        ready: Mapping[str, Check],
        before_scrape: Callable[[], None] = lambda: None,
        routes: Mapping[str, Handler] | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]") or None, int(port)
        self._metrics = metrics
        self._before_scrape = before_scrape
        self._app = web.Application(client_max_size=1024)
        self._app.router.add_get("/healthz", _checks(live))
        self._app.router.add_get("/readyz", _checks(ready))
        self._app.router.add_get("/metrics", self._scrape)
        for path, handler in (routes or {}).items():
            self._app.router.add_get(path, handler)
        self.listening = asyncio.Event()
        self.bound = ("", 0)
        """Where it listens, once it does: the port matters when the address asked for port 0."""

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: the address is taken or not ours.
        """
        runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self.bound = runner.addresses[0][:2]
            self.listening.set()
            log.info("Serving health and metrics", extra={"address": f"{self.bound[0]}:{self.bound[1]}"})
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _scrape(self, request: web.Request) -> web.Response:
        self._before_scrape()
        body, content_type = await self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _checks(checks: Mapping[str, Check]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        wrong = {name: problem for name, check in checks.items() if (problem := check())}
        lines = [f"[-]{name}: {wrong[name]}" if name in wrong else f"[+]{name} ok" for name in checks]
        return web.Response(status=503 if wrong else 200, text="\n".join(lines) + "\n")

    return answer
