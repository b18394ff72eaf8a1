"""The page for authors of receivers: what it tells them to run works."""

from __future__ import annotations

import re
import time
from typing import Any

from regent.adapters.egress.reference import MODELS, reference, schema
from regent.adapters.egress.signing import signed_headers

KEY = b"0123456789abcdef0123456789abcdef"


def test_the_lines_that_verify_a_signature_do_so() -> None:
    source = re.search(r"```python\n(.*?)```", reference(), re.DOTALL)
    assert source is not None
    scope: dict[str, Any] = {}
    exec(compile(source[1], "receivers.md", "exec"), scope)  # noqa: S102 - our own page
    verify, now = scope["verify"], int(time.time())
    headers = signed_headers("msg_1", now, b'{"a":1}', [b"x" * 24, KEY])
    assert verify(headers, b'{"a":1}', KEY)
    assert not verify(headers, b'{"a":2}', KEY)
    assert not verify(headers, b'{"a":1}', KEY[::-1])
    assert not verify({**headers, "webhook-id": "msg_2"}, b'{"a":1}', KEY)
    assert not verify(signed_headers("msg_1", now - 3600, b"{}", [KEY]), b"{}", KEY)
    assert not verify(signed_headers("msg_1", now, b"{}", []), b"{}", KEY)


def test_every_model_and_field_is_explained() -> None:
    definitions = schema()["$defs"]
    assert {model.__name__ for model in MODELS} <= set(definitions)
    unexplained = [
        f"{name}.{key}"
        for name, node in definitions.items()
        for key, child in node["properties"].items()
        if not child.get("description")
    ]
    assert not unexplained
