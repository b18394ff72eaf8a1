"""An incremental parser of HTTP/1.x responses, as small as a health probe allows.

It answers three questions: which status, which body (bounded), and may the connection be used again. It does no I/O;
`http1` feeds it. The result never depends on how the bytes were cut into pieces. What it accepts follows RFC 9112 as
h11 reads it: line feeds without carriage returns are tolerated, contradicting lengths are not.
"""

from __future__ import annotations

import re

MAX_HEAD = 64 * 1024
"""Longest status line and header section, in bytes; longer ones are refused."""
MAX_BODY = 64 * 1024
"""What is read of a body, in bytes; the rest is not read and the connection is not used again."""
_MAX_CHUNK_LINE = 4096

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\x00\r\n]*)?\r?")
# All fields at once: a match per field would be the most expensive part of a probe.
_FIELDS = re.compile(rb"(?:\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*\r?(?:\n[ \t][^\x00\r\n]*\r?)*)*")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding|connection):[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00\r\n]*)?\r?")

_HEAD, _LENGTH, _CHUNK_HEADER, _CHUNK_DATA, _CHUNK_END, _TRAILER, _UNTIL_CLOSE, _DONE = range(8)


class MalformedResponseError(Exception):
    """The peer did not send an HTTP/1.x response; the message says what was wrong with it."""


class ResponseParser:
    """Parses one response. `feed` bytes as they come and `eof` when the peer has closed.

    With `want_body` False the body is counted and dropped.
    """

    __slots__ = ("_buffer", "_remaining", "_scanned", "_state", "_taken", "_want_body", "body", "keep_alive", "status")

    def __init__(self, *, want_body: bool) -> None:
        self._want_body = want_body
        self._state = _HEAD
        self._buffer = b""
        self._scanned = 0
        self._remaining = 0
        self._taken = 0
        self.status = 0
        """Final status; 0 until the whole head is there. Interim (1xx) responses are skipped."""
        self.body = bytearray()
        """What came of the body, at most MAX_BODY bytes."""
        self.keep_alive = True
        """Whether the peer and the framing allow another request, once `complete`."""

    @property
    def complete(self) -> bool:
        """The response is over, or as much of its body is here as is ever read."""
        return self._state == _DONE

    def feed(self, data: bytes) -> None:
        """Take the next bytes; MalformedResponseError when they cannot be part of a response."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data:
            state = self._state
            if state == _HEAD:
                data = self._feed_head(data)
            elif state == _LENGTH:
                data = self._feed_length(data)
            elif state == _DONE:
                # Bytes that nobody asked for: the next response could not be told from them.
                self.keep_alive = False
                return
            elif state == _UNTIL_CLOSE:
                self._take(data)
                return
            else:
                data = self._feed_chunked(data)

    def eof(self) -> None:
        """The peer closed; MalformedResponseError when that was in the middle of the response."""
        self.keep_alive = False
        if self._state == _UNTIL_CLOSE:
            self._state = _DONE
        elif self._state != _DONE:
            raise MalformedResponseError("connection closed in the middle of the answer")

    def _take(self, data: bytes) -> None:
        """Count body bytes, keep them if wanted, and stop reading at the bound."""
        room = MAX_BODY - self._taken
        if self._want_body:
            self.body += data[:room]
        self._taken += len(data)
        if len(data) > room:
            self._state = _DONE
            self.keep_alive = False

    def _feed_head(self, data: bytes) -> bytes:
        end = _HEAD_END.search(data, max(0, self._scanned - 2))
        if end is None:
            if len(data) > MAX_HEAD:
                raise MalformedResponseError(f"header section is longer than {MAX_HEAD} bytes")
            if data[:7] != b"HTTP/1."[: len(data)]:
                raise MalformedResponseError("answer is not HTTP/1.x")
            self._buffer = data
            self._scanned = len(data)
            return b""
        self._scanned = 0
        if end.end() > MAX_HEAD:
            raise MalformedResponseError(f"header section is longer than {MAX_HEAD} bytes")
        self._parse_head(data[: end.start()])
        return data[end.end() :]

    def _parse_head(self, head: bytes) -> None:
        match = _STATUS_LINE.match(head)
        if match is None:
            raise MalformedResponseError("answer does not start with an HTTP/1.x status line")
        if _FIELDS.fullmatch(head, match.end()) is None:
            raise MalformedResponseError("answer has a malformed header field")
        status = int(match[2])
        length, chunked, connection = _framing_fields(head)
        if status < 200 and status != 101:
            return  # interim: the state stays at _HEAD, the final response follows
        if match[1] == b"0":
            self.keep_alive = b"keep-alive" in connection
        elif b"close" in connection:
            self.keep_alive = False
        if status in (101, 204, 304):
            self._state = _DONE
            self.keep_alive = self.keep_alive and status != 101
        elif chunked:
            self._state = _CHUNK_HEADER
            # A length beside chunks is how requests are smuggled: never use such a connection again.
            self.keep_alive = self.keep_alive and length is None
        elif length is None:
            self._state = _UNTIL_CLOSE
            self.keep_alive = False
        elif length == 0:
            self._state = _DONE
        else:
            self._state = _LENGTH
            self._remaining = length
        self.status = status

    def _feed_length(self, data: bytes) -> bytes:
        part = data[: self._remaining]
        self._remaining -= len(part)
        self._take(part)
        if self._state == _DONE:
            return b""
        if self._remaining == 0:
            self._state = _DONE
        return data[len(part) :]

    def _feed_chunked(self, data: bytes) -> bytes:
        if self._state == _CHUNK_DATA:
            part = data[: self._remaining]
            self._remaining -= len(part)
            self._take(part)
            if self._state == _DONE:
                return b""
            if self._remaining == 0:
                self._state = _CHUNK_END
            return data[len(part) :]
        end = data.find(b"\n", self._scanned)
        if (len(data) if end < 0 else end) > _MAX_CHUNK_LINE:
            raise MalformedResponseError("chunk header or trailer is too long")
        if end < 0:
            self._buffer = data
            self._scanned = len(data)
            return b""
        self._scanned = 0
        self._feed_chunk_line(data[:end])
        return data[end + 1 :]

    def _feed_chunk_line(self, line: bytes) -> None:
        if self._state == _CHUNK_END:
            if line not in (b"", b"\r"):
                raise MalformedResponseError("chunk is longer than it says")
            self._state = _CHUNK_HEADER
        elif self._state == _CHUNK_HEADER:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise MalformedResponseError("chunk size is not a number")
            self._remaining = int(match[1], 16)
            self._state = _CHUNK_DATA if self._remaining else _TRAILER
        elif line in (b"", b"\r"):
            self._state = _DONE
        else:
            # Trailers say nothing to a probe; they are counted like a body so that they cannot go on for ever.
            self._taken += len(line)
            if self._taken > MAX_BODY:
                raise MalformedResponseError("trailers are too long")


def _framing_fields(head: bytes) -> tuple[int | None, bool, bytes]:
    """Return Content-Length, whether the body is chunked, and the Connection options in lower case."""
    length: int | None = None
    chunked = False
    connection = b""
    for field, value in _FRAMING.findall(head):
        name = field.lower()
        if name == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or chunked:
                raise MalformedResponseError("answer has an unknown transfer encoding")
            chunked = True
        elif name == b"content-length":
            length = _content_length(value, length)
        else:
            connection += b"," + value.lower()
    return length, chunked, connection


def _content_length(value: bytes, known: int | None) -> int:
    first, *others = {part.strip() for part in value.split(b",")}
    if others or not first.isdigit() or len(first) > 18:
        raise MalformedResponseError("answer has an unusable Content-Length")
    if known is not None and known != int(first):
        raise MalformedResponseError("answer has two different lengths")
    return int(first)
