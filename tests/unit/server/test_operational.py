"""/healthz, /readyz and /metrics over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.metrics import PrometheusMetrics
from regent.server.operational import Heartbeat, OperationalServer


class Bench:
    def __init__(self) -> None:
        self.problem = ""
        self.looked = 0
        self.metrics = PrometheusMetrics()
        self.server = OperationalServer(
            "127.0.0.1:0",
            metrics=self.metrics,
            live={"first": lambda: "", "second": lambda: self.problem},
            ready={"watches": lambda: self.problem},
            before_scrape=self.look,
        )

    def look(self) -> None:
        self.looked += 1

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        task = asyncio.create_task(self.server.run())
        await asyncio.wait_for(self.server.listening.wait(), 5)
        host, port = self.server.bound
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_checks_name_what_is_wrong() -> None:
    bench = Bench()
    async with bench.client() as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200
        bench.problem = "stood still for 9s"
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        assert answer.text == "[+]first ok\n[-]second: stood still for 9s\n"
        assert (await client.get("/readyz")).status_code == 503


async def test_metrics_are_served_fresh() -> None:
    bench = Bench()
    async with bench.client() as client:
        bench.metrics.count("regent_watch_restarts_total")
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "regent_watch_restarts_total 1.0" in answer.text
        assert "process_resident_memory_bytes" in answer.text
        assert bench.looked == 1


@pytest.mark.parametrize("request_", [("GET", "/"), ("POST", "/healthz"), ("GET", "/metrics/../secret")])
async def test_there_is_nothing_else(request_: tuple[str, str]) -> None:
    async with Bench().client() as client:
        assert (await client.request(*request_)).status_code in (404, 405)


async def test_the_heartbeat_tells_how_late_the_loop_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(Heartbeat, "INTERVAL", 0.01)
    heart = Heartbeat(clock=SystemClock(), metrics=PrometheusMetrics())
    task = asyncio.create_task(heart.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.2)  # the fault: something blocks the loop
    await asyncio.sleep(Heartbeat.INTERVAL)  # its timer was due before ours, so it has run when this goes on
    assert heart.lag > 0.15
    task.cancel()
