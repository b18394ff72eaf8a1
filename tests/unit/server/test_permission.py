"""/may-promote over a real socket, with the client that docs/patroni.md gives."""

from __future__ import annotations

import asyncio

import pytest

from regent.adapters.metrics import PrometheusMetrics
from regent.domain.failover.guarding import Answer, Leave
from regent.server.operational import OperationalServer
from regent.server.permission import permission_route


class Asked:
    def __init__(self, *answers: Leave) -> None:
        self.answers = list(answers)
        self.questions: list[tuple[str, str, str]] = []

    async def __call__(self, namespace: str, policy: str, step: str) -> Answer:
        self.questions.append((namespace, policy, step))
        return Answer(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], "because")


async def curl(asked: Asked, path: str = "shop/shop.eu/db") -> tuple[int, str]:
    server = OperationalServer(
        "127.0.0.1:0", metrics=PrometheusMetrics(), live={}, ready={}, routes=permission_route(asked)
    )
    task = asyncio.create_task(server.run())
    await asyncio.wait_for(server.listening.wait(), 5)
    url = f"http://127.0.0.1:{server.bound[1]}/may-promote/{path}"
    options = ["--fail", "--silent", "--show-error", "--noproxy", "*", "--max-time", "5"]
    retries = ["--retry", "5", "--retry-delay", "1", "--retry-max-time", "20", "--retry-connrefused"]
    process = await asyncio.create_subprocess_exec(
        "curl", *options, *retries, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    task.cancel()
    return process.returncode or 0, out.decode()


async def test_yes_is_success() -> None:
    asked = Asked(Leave.YES)
    code, text = await curl(asked)
    assert (code, text) == (0, "yes: because\n")
    assert asked.questions == [("shop", "shop.eu", "db")]


async def test_no_is_final() -> None:
    asked = Asked(Leave.NO)
    assert (await curl(asked))[0] != 0
    assert len(asked.questions) == 1


async def test_not_yet_is_asked_again() -> None:
    asked = Asked(Leave.NOT_YET, Leave.YES)
    assert (await curl(asked))[0] == 0
    assert len(asked.questions) == 2


@pytest.mark.parametrize("path", ["shop/shop", "shop/shop/db/more", "Shop/shop/db", "shop/%2e%2e/db"])
async def test_what_is_no_question_gets_no_yes(path: str) -> None:
    asked = Asked(Leave.YES)
    assert (await curl(asked, path))[0] != 0
    assert asked.questions == []
