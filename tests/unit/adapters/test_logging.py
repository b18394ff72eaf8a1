"""Logs: one line an event, fields kept, credentials blotted out, repetitive libraries thinned."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from regent.adapters import logging as logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in ("regent", "kopf.objects"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(style: str, level: str = "info") -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    logs.configure(level=level, style=style, stream=stream)
    return stream, logging.getLogger("regent.test")


def test_json_lines_with_fields_and_traceback() -> None:
    stream, log = lines("auto")
    log.info("Moved traffic to %s", "eu", extra={"object": "FailoverPolicy/shop/shop", "n": 3})
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("Visit failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "Moved traffic to eu"
    assert first["object"] == "FailoverPolicy/shop/shop"
    assert first["n"] == 3
    assert (first["level"], first["logger"]) == ("info", "regent.test")
    assert first["time"].endswith("Z")
    assert "ValueError: boom" in second["error"]


def test_a_message_with_line_breaks_stays_one_line_of_json() -> None:
    stream, log = lines("json")
    log.info("a\nb\u2028c", extra={"object": "x\ny"})
    assert len(stream.getvalue().split("\n")) == 2


def test_text_for_people() -> None:
    stream, log = lines("text")
    log.warning("Held", extra={"object": "FailoverPolicy/shop/shop", "why": "two words"})
    assert stream.getvalue().endswith('WARN Held object=FailoverPolicy/shop/shop why="two words"\n')


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer sEcReT0123456789abcdef",
        "Authorization: Basic sEcReT0123456789==",
        "eyJhbGciOiJSUzI1NiJ9sEcReT.eyJzdWIiOiJ4In0.sEcReT",
        "-----BEGIN RSA PRIVATE KEY-----\nsEcReT\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nsEcReT",
        "password=sEcReT",
        '{"token": "sEcReT"}',
        "api_key: sEcReT",
        "https://user:sEcReT@example.com/hook",
    ],
)
@pytest.mark.parametrize("style", ["json", "text"])
def test_credentials_are_blotted_out_wherever_they_stand(text: str, style: str) -> None:
    stream, log = lines(style)
    log.info(text)
    log.info("x", extra={"answer": text, "nested": {"list": [text]}})
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("x")
    assert "sEcReT" not in stream.getvalue()


def test_ordinary_words_stay() -> None:
    for text in ("Secret regent-system/eu not found", "token expired", "https://example.com/a", "Bearer of news"):
        assert logs.redact(text) == text


def test_libraries_are_quiet_and_repetitions_thinned_but_ours_are_not() -> None:
    stream, log = lines("text")
    kopf = logging.getLogger("kopf._cogs.clients.api")
    logging.getLogger("kopf.objects").info("handled")
    logging.getLogger("aiohttp.access").info("GET /")
    for number in range(5):
        kopf.error("Request attempt #%d/64 failed; will retry: GET x", number)
        log.info("same")
    text = stream.getvalue()
    assert "handled" not in text
    assert "GET /" not in text
    assert text.count("will retry") == 1
    assert text.count("same") == 5


def test_level() -> None:
    stream, log = lines("text", level="error")
    log.warning("no")
    log.error("yes")
    assert stream.getvalue().count("\n") == 1
