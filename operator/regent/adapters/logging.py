"""Structured logs in the Kubernetes style: one event a line, a message in prose, the rest as fields.

JSON lines when the output is not a terminal, `key=value` for people when it is. Fields come from `extra=`; tokens and
other credentials that slip into a message are blotted out at the last moment, as a second line of defence: nothing in
Regent logs a Secret on purpose. kopf logs each handled event of each object, and each retried request; the first is
switched off, the second thinned out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

FORMATS = ("auto", "json", "text")
LEVELS = ("debug", "info", "warning", "error")
REPEAT = 30.0
"""Seconds in which the same line of a library is not repeated."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
    re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key)([\\\"']*\s*[=:]\s*[\\\"']*)[^\s\\\"',;&}]{3,}"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
BLOT = "[redacted]"


def redact(text: str) -> str:
    """Return `text` without tokens, private keys, passwords in URLs and values named like credentials."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: f"{found[1]}{found[2]}{BLOT}" if (found.lastindex or 0) >= 2 else BLOT, text)
    return text


def configure(*, level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Set logging up for the whole process, replacing what was there.

    Args:
        level: one of `LEVELS`, for Regent's own loggers; libraries log warnings and worse.
        style: one of `FORMATS`; "auto" is text on a terminal, else JSON.
        stream: where to; standard error when None.
    """
    stream = stream or sys.stderr
    as_json = style == "json" or (style == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.addFilter(Thinning())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("regent").setLevel(level.upper())
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.captureWarnings(True)


class Thinning(logging.Filter):
    """Lets a line of a library that is repeated through once in `REPEAT` seconds. Regent's own lines always pass."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is to be written."""
        if record.name.startswith("regent"):
            return True
        message = re.sub(r"#?\d+", "#", record.getMessage())[:120]
        if record.created - self._last.get(message, float("-inf")) < REPEAT:
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[message] = record.created
        return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(_redacted(line), ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, then the fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback below it when there is one."""
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)[11:23]} {record.levelname[:4]:4} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"=]", text) or not text else text


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _redacted(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(inner) for inner in value]
    return value
