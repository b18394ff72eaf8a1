"""The webhook over real TLS: what it answers, and which certificate it shows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from regent.server import admission
from regent.server.admission import PATH, AdmissionServer
from tests.fakes.certificates import Authority, Issued

RUN = {"metadata": {"name": "go"}, "spec": {}}
QUESTION = {"uid": "u-1", "operation": "CREATE", "userInfo": {"username": "ann"}, "object": RUN}


class Files:
    """The certificate as a kubelet would put it there."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self._second = 1_790_000_000

    def put(self, issued: Issued) -> None:
        self._second += 1
        for path, text in ((self.certificate, issued.certificate), (self.key, issued.key)):
            path.write_text(text)
            os.utime(path, (self._second, self._second))


@contextlib.asynccontextmanager
async def serving(files: Files) -> AsyncIterator[AdmissionServer]:
    server = AdmissionServer("127.0.0.1:0", certificate=str(files.certificate), key=str(files.key))
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def post(server: AdmissionServer, authority: Authority, body: Any) -> httpx.Response:
    await asyncio.wait_for(server.listening.wait(), 30)
    trust = ssl.create_default_context(cadata=authority.pem)
    async with httpx.AsyncClient(verify=trust, timeout=30) as client:
        return await client.post(f"https://127.0.0.1:{server.bound[1]}{PATH}", content=body)


async def test_it_answers_with_a_patch(tmp_path: Path) -> None:
    authority, files = Authority(), Files(tmp_path)
    files.put(authority.issue("127.0.0.1"))
    async with serving(files) as server:
        answer = (await post(server, authority, json.dumps({"request": QUESTION}))).json()
        response = answer["response"]
        assert (answer["kind"], response["uid"], response["allowed"]) == ("AdmissionReview", "u-1", True)
        patch = json.loads(base64.b64decode(response["patch"]))
        assert [item.get("value") for item in patch] == [{}, "ann"]
        named = {**QUESTION, "object": {**RUN, "metadata": {"annotations": {"regent.dev/requested-by": "ann"}}}}
        plain = (await post(server, authority, json.dumps({"request": named}))).json()
        assert plain["response"] == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"request": 1}', b'{"request": {}}', b"\xff"])
async def test_what_is_no_question_is_refused(tmp_path: Path, body: bytes) -> None:
    authority, files = Authority(), Files(tmp_path)
    files.put(authority.issue("127.0.0.1"))
    async with serving(files) as server:
        assert (await post(server, authority, body)).status_code == 400


async def test_a_certificate_that_comes_late_and_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOOK", 0.01)
    first, second, files = Authority("first"), Authority("second"), Files(tmp_path)
    async with serving(files) as server:
        await asyncio.sleep(0)
        assert not server.listening.is_set()
        files.put(first.issue("127.0.0.1"))
        assert (await post(server, first, json.dumps({"request": QUESTION}))).status_code == 200
        files.put(second.issue("127.0.0.1"))
        async with asyncio.timeout(30):
            while True:
                try:
                    answer = await post(server, second, json.dumps({"request": QUESTION}))
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.01)
        assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError):
            await post(server, first, json.dumps({"request": QUESTION}))
