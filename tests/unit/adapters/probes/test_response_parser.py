"""The response parser alone: the same result however the bytes are cut, and bounds that hold."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.adapters.probes.parser import MAX_BODY, MAX_HEAD, MalformedResponseError, ResponseParser

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nis well",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nis w\r\n3\r\nell\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 200 OK\r\nA: 1\n\r\nbody\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nrest",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"\x15\x03\x01\x00\x02\x02\x50",
]

Seen = tuple[int, bytes, bool, bool] | str


def run(pieces: list[bytes], *, end: bool = False, want_body: bool = True) -> Seen:
    """Status, body, complete and keep_alive after all pieces; "malformed" when one was refused."""
    parser = ResponseParser(want_body=want_body)
    try:
        for piece in pieces:
            parser.feed(piece)
        if end:
            parser.eof()
    except MalformedResponseError:
        return "malformed"
    return parser.status, bytes(parser.body), parser.complete, parser.keep_alive


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("end", [False, True])
def test_every_cut_gives_the_same_result(answer: bytes, end: bool) -> None:
    whole = run([answer], end=end)
    for place in range(len(answer) + 1):
        assert run([answer[:place], answer[place:]], end=end) == whole, place
    assert run([bytes((byte,)) for byte in answer], end=end) == whole


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:1\r\nCONNECTION: foo, Close\r\n\r\nx", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 204 No\r\n\r\n", True),
        (b"HTTP/1.1 204 No\r\n\r\nx", False),
        (b"HTTP/1.1 101 Up\r\n\r\n", False),
    ],
)
def test_which_connections_may_be_used_again(answer: bytes, kept: bool) -> None:
    parser = ResponseParser(want_body=False)
    parser.feed(answer)
    assert (parser.complete, parser.keep_alive) == (True, kept)


fragments = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 ", b"\r\n", b"\n", b"\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding: chunked",
     b"Connection: close", b"5", b"0\r\n\r\n", b"hello", b" ", b":", b"\x00", b"HTTP/1.1 100 x\r\n\r\n", b"ffffffff"]
)  # fmt: skip
soup = st.lists(fragments | st.binary(max_size=6), max_size=14).map(b"".join)


@given(
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    rest=soup,
    places=st.lists(st.integers(0, 400), max_size=8),
    end=st.booleans(),
    want_body=st.booleans(),
)
def test_any_bytes_in_any_pieces(head: bytes, rest: bytes, places: list[int], end: bool, want_body: bool) -> None:
    data = head + rest
    assert run(cut(data, places), end=end, want_body=want_body) == run([data], end=end, want_body=want_body)


def h11_says(data: bytes) -> tuple[int, bytes] | None:
    """Status and body as h11 reads them up to the end of the connection, None when it refuses."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


names = st.sampled_from(["Server", "X-A", "Date", "Content-Type"])
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map(str.strip)


@given(
    status=st.sampled_from([200, 204, 304, 404, 503]),
    version=st.sampled_from(["1.0", "1.1"]),
    fields=st.lists(st.tuples(names, values), max_size=4),
    body=st.binary(max_size=40),
    framing=st.sampled_from(["length", "chunked", "close"]),
    lost=st.integers(0, 6),
    interim=st.integers(0, 2),
)
def test_agrees_with_h11(  # noqa: PLR0917
    status: int, version: str, fields: list[tuple[str, str]], body: bytes, framing: str, lost: int, interim: int
) -> None:
    if status in (204, 304):
        body = b""
    if version == "1.0" and framing == "chunked":
        framing = "length"
    head = f"HTTP/{version} {status} Reason\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    payload = body
    if framing == "length":
        head += f"Content-Length: {len(body)}\r\n"
    elif framing == "chunked" and status not in (204, 304):
        head += "Transfer-Encoding: chunked\r\n"
        payload = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part) + b"0\r\n\r\n"
    data = b"HTTP/1.1 103 Hints\r\n\r\n" * interim + head.encode() + b"\r\n" + payload
    data = data[: len(data) - lost] if lost else data
    ours = run([data], end=True)
    expected = h11_says(data)
    if expected is None:
        assert ours == "malformed"
    else:
        assert ours[:2] == expected


@pytest.mark.parametrize("pieces", [1, 1000])
def test_head_is_bounded(pieces: int) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6 + 1)
    size = -(-len(data) // pieces)
    assert run([data[at : at + size] for at in range(0, len(data), size)]) == "malformed"
    fits = b"HTTP/1.1 200 OK\r\nX: " + b"y" * (MAX_HEAD - 23) + b"\r\n\r\n"
    assert len(fits) == MAX_HEAD + 1
    assert run([fits]) == "malformed"
    assert run([fits.replace(b"y", b"", 1)]) == (200, b"", False, False)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 99999999\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"],
)
@pytest.mark.parametrize("want_body", [True, False])
def test_body_is_bounded(framing: bytes, want_body: bool) -> None:
    parser = ResponseParser(want_body=want_body)
    parser.feed(b"HTTP/1.1 200 OK\r\n" + framing)
    for _ in range(MAX_BODY // 1024):
        assert not parser.complete
        parser.feed(b"x" * 1024)
    assert not parser.complete
    parser.feed(b"x")
    assert parser.complete
    assert not parser.keep_alive
    assert len(parser.body) == (MAX_BODY if want_body else 0)


@pytest.mark.parametrize("tail", [b"1;" + b"x" * 5000, b"0\r\n" + b"A: b\r\n" * 20_000])
def test_chunk_lines_and_trailers_are_bounded(tail: bytes) -> None:
    assert run([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tail]) == "malformed"
