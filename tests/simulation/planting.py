"""Plants an edit of the source into the running engine: the function is compiled again from its edited text.

The code object of the very function is replaced, so that everybody who has imported it runs the edited one. An edit
whose text does not stand in the source exactly once is an error: the guard has moved, and the mutant with it.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any


class StaleEditError(AssertionError):
    """The source is not what the edit was made for."""


@contextmanager
def planted(place: str, old: str, new: str) -> Iterator[None]:
    """Run with `old` replaced by `new` in the function at `place`, such as `regent.engine.draft:Draft.flush`.

    Raises:
        StaleEditError: `old` does not stand in it exactly once.
    """
    function = _function(place)
    text = textwrap.dedent(inspect.getsource(function))
    if text.count(old) != 1:
        raise StaleEditError(f"{place} has {text.count(old)} times:\n{old}")
    exact, function.__code__ = function.__code__, _compiled(function, text.replace(old, new), place)
    try:
        yield
    finally:
        function.__code__ = exact


def _function(place: str) -> FunctionType:
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name) if inspect.isclass(found) else getattr(found, name)
    found = found.fget if isinstance(found, property) else found
    if not isinstance(found, FunctionType):
        raise StaleEditError(f"{place} is no function")
    return found


def _compiled(function: FunctionType, text: str, place: str) -> CodeType:
    """Compile the text of one function. The future import keeps annotations from being evaluated."""
    lines = [line for line in text.splitlines() if not line.startswith("@")]
    code = compile("from __future__ import annotations\n" + "\n".join(lines) + "\n", f"<edited {place}>", "exec")
    scope: dict[str, Any] = {}
    exec(code, dict(function.__globals__), scope)  # noqa: S102 - the repository's own source, edited right here
    return scope[function.__name__].__code__  # type: ignore[no-any-return]
