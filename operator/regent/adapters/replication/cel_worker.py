"""The process that compiles and evaluates CEL expressions of users; `sandbox` starts it and talks to it.

CEL has no loops that never end, but `list.map(x, x + x)` written ten times in a row asks for a thousandfold of memory,
and a library in C++ cannot be told to stop. So expressions are evaluated where that costs nobody else anything: in a
process that the kernel kills when one request takes too much processor time, that gets no more memory than it may
have, and that knows nothing but the object it was sent. It reads requests from its standard input, one JSON document a
line, and answers each with one line.
"""

from __future__ import annotations

import json
import math
import re
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

PROCESSOR = 0.1
"""Seconds of processor time for the evaluations of one request."""

MEMORY = 256 * 1024 * 1024
"""Bytes of address space; about 40 MB of it are taken before the first request."""

MAX_ANSWER = 1024 * 1024
"""Bytes of one answer."""

_SAID = (
    # What the library says, and what is said of it. Its own words may quote what is in the object, which may be a
    # Secret that whoever reads the policy's status may not read. So none are passed on but the names of types.
    ("Key not found in map", "a key is not there: ask for it with has(), or with ?. and orValue()"),
    ("Index error", "a list has no such element"),
    ("Applying SELECT", "a field is asked of what is not a map: ask for what is there with has()"),
    ("divide by zero", "division by zero"),
    ("modulus by zero", "division by zero"),
    ("integer overflow", "a number is too large"),
    ("Iteration budget exceeded", "it goes through more than 10000 elements"),
    ("invalid regular expression", "a regular expression is not valid"),
    ("cannot convert", "a value cannot be converted"),
)
_OVERLOAD = re.compile(r"No matching overloads found : (\S{1,40}\([a-z0-9_, ]{0,80}\))")
_WHERE = re.compile(r"<input>:(\d+):(\d+): ([^\n]*)")


class Program(Protocol):
    """A compiled expression."""

    def eval(self, *, data: dict[str, Any]) -> Any:
        """Return its value."""
        ...

    def return_type(self) -> Any:
        """The type of its value, as far as it is known."""
        ...


class RefusedError(Exception):
    """What an expression does wrong, for people."""


def main() -> None:
    """Answer requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compile_expression = compiler()
    # Not earlier: the library's own code is mapped by now.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _answer({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # Nothing handles the signal: its default ends the process, whatever code it is in.
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR)
        try:
            answer = answer_to(request, compile_expression)
        except RefusedError as refused:
            answer = {"error": str(refused)}
        except MemoryError:
            answer = {"error": "it needs too much memory"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(answer)


def compiler() -> Callable[[str], Program]:
    """Return what compiles an expression over `object` and `self`, with the functions for strings and optionals that
    Kubernetes has; it raises RefusedError."""
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional, ext_strings

    anything = cel.Type.DYN
    environment = cel.NewEnv(
        variables={"object": anything, "self": anything},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
    )

    @lru_cache(maxsize=256)
    def compiled(expression: str) -> Program:
        try:
            program: Program = environment.compile(expression)
        except RuntimeError as error:
            raise RefusedError(_syntax(str(error))) from error
        return program

    return compiled


def answer_to(request: dict[str, Any], compile_expression: Callable[[str], Program]) -> dict[str, Any]:
    """Return the answer to one request: about an expression (`check`), or the values of some for an object."""
    if "check" in request:
        kind = compile_expression(request["check"]).return_type().name()
        if request["boolean"] and kind not in ("BOOL", "DYN"):
            raise RefusedError(f"gives {kind.lower()}, where a condition gives bool")
        return {"ok": True}
    variables = {"object": request["object"]}
    if request["when"] and not _condition(compile_expression(request["when"]), variables):
        return {"applies": False}
    values = []
    for number, (expression, places) in enumerate(request["assignments"]):
        try:
            program = compile_expression(expression)
            values.append([_plain(_value(program, {**variables, "self": place})) for place in places])
        except RefusedError as refused:
            return {"error": str(refused), "at": number}
    return {"applies": True, "values": values}


def _condition(program: Program, variables: dict[str, Any]) -> bool:
    try:
        value = _value(program, {**variables, "self": None})
    except RefusedError as refused:
        raise RefusedError(f"when: {refused}") from refused
    if not isinstance(value, bool):
        raise RefusedError("when: gives no bool")
    return value


def _value(program: Program, variables: dict[str, Any]) -> Any:
    """Return what an expression gives, as Python values; raises RefusedError."""
    try:
        result = program.eval(data=variables)
        if result.type().name() == "ERROR":
            raise RefusedError(_said(str(result.value())))
        return result.plain_value()
    except (RuntimeError, TypeError, ValueError) as error:
        raise RefusedError(_said(str(error))) from error


def _plain(value: Any) -> Any:
    """Return the value when JSON has it; raises RefusedError."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise RefusedError("it gives a value that JSON does not have: convert it with string(), int() or double()")


def _said(text: str) -> str:
    """Return what went wrong in an evaluation, without anything out of the object."""
    if found := _OVERLOAD.search(text):
        return f"no operator or function takes these types: {found.group(1)}"
    return next((said for mark, said in _SAID if mark in text), "it cannot be evaluated")


def _syntax(text: str) -> str:
    """Return the first fault of an expression and where it is; only the expression itself is quoted."""
    found = _WHERE.search(text)
    if found is None:
        return "it is too deeply nested" if "recursion" in text else "it is not a CEL expression"
    line, column, what = found.groups()
    what = re.sub(r" \(in container '.*?'\)|, expecting .*| expecting \{.*", "", what)
    return f"line {line}, column {column}: {what[:200]}"


def _answer(answer: dict[str, Any]) -> None:
    text = json.dumps(answer)
    if len(text) > MAX_ANSWER:
        text = json.dumps({"error": f"it gives more than {MAX_ANSWER} bytes"})
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
