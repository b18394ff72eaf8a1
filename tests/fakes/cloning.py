"""Copies of API objects. They are plain JSON, so `marshal` copies them many times faster than `copy.deepcopy`."""

from __future__ import annotations

import copy
import marshal
from typing import Any

_exact = copy.deepcopy


def clone(obj: Any) -> Any:
    """A deep copy of `obj`."""
    try:
        return marshal.loads(marshal.dumps(obj))  # noqa: S302 - what it reads was written right here
    except ValueError:  # something in it is not JSON; the test that put it there knows why
        return _exact(obj)
