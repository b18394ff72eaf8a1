"""`python -m testbed.crash.program run …`: the operator as it is, which dies or stands still at one exact point.

Every boundary of a run gets a name: before and after each look at a step, each effect, each write. Names are put into a
trace file as they are reached; when a name is the one that the order file asks for, the process sends itself SIGKILL
(or SIGSTOP) right there. The product has no such hooks: what is patched here is wrapped from outside, and does what it
did. `boundaries` is the other end of the two files.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from testbed.crash.boundaries import DIRECTORY, HEADER, ORDER, TRACE, agent

_namespace: ContextVar[str] = ContextVar("namespace", default="")
_part: ContextVar[str] = ContextVar("part", default="")
_UNTOLD = frozenset({"show", "keep", "adopt"})
"""What a visit does beside runs; how often depends on probes and watches, not on the run."""
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NOT_OURS = frozenset({"Lease", "Event", "Region"})
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Doom:
    """The two files of one replica."""

    def __init__(self, directory: Path) -> None:
        self._order = directory / ORDER
        self._trace = directory / TRACE

    def reach(self, name: str, **facts: str) -> None:
        """Note that this point of a run is reached, and end here if it is the one."""
        namespace = _namespace.get()
        if not namespace or _part.get() in _UNTOLD:
            return
        entry = {"time": time.monotonic(), "namespace": namespace, "name": name, "pid": os.getpid(), **facts}
        with self._trace.open("a", encoding="utf-8") as trace:
            trace.write(json.dumps(entry) + "\n")
        order = self._ordered()
        if order.get("namespace") == namespace and order.get("boundary") == name:
            # Once only: one that is woken goes on, and one that is started again must not die of the same order.
            self._order.unlink(missing_ok=True)
            os.kill(os.getpid(), _SIGNALS[str(order["action"])])

    def _ordered(self) -> dict[str, Any]:
        try:
            order: dict[str, Any] = json.loads(self._order.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return order


@contextmanager
def _within(part: str) -> Iterator[None]:
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def _name_part(owner: type, method: str, part: str) -> None:
    """Let everything under `owner.method` be known as `part`."""
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)

    @functools.wraps(original)
    async def wrapped(*args: Any, **options: Any) -> Any:
        with _within(part):
            return await original(*args, **options)

    setattr(owner, method, wrapped)


class _Step:
    """A step of a run whose looks and effects are told."""

    def __init__(self, step: Any, doom: Doom) -> None:
        self._step = step
        self._doom = doom

    async def look(self, work: Any, name: str) -> Any:
        with _within(name):
            self._doom.reach(f"{name}: look")
            outcome = await self._step.look(work, name)
            self._doom.reach(f"{name}: seen {type(outcome).__name__}")
            return outcome

    async def act(self, work: Any, name: str) -> None:
        with _within(name):
            self._doom.reach(f"{name}: act")
            await self._step.act(work, name)
            self._doom.reach(f"{name}: acted")

    def late(self, work: Any, name: str, message: str) -> Any:
        return self._step.late(work, name, message)


def written(method: str, kind: str, path: str, body: Mapping[str, Any]) -> str:
    """What a write is called: by what it means for the run, so that the same one has the same name in every run."""
    if kind == "Failover" and path.endswith("/status"):
        status = body.get("status") or {}
        if status.get("completionTime"):
            return f"journal end {status.get('phase')}"
        current = status.get("currentStep")
        steps = [step for step in status.get("steps") or () if step["name"] == current]
        state = steps[-1]["state"] if steps else ""
        noted = " noted" if state == "Running" and steps[-1].get("message") else ""
        return f"journal {current} {state}{noted}".strip()
    if method == "DELETE":
        return f"delete {kind}"
    return f"{_part.get() or 'visit'}: write {kind}"


def _tell_writes(doom: Doom) -> None:
    from regent.adapters.kubernetes.client import KubernetesCluster

    original: Callable[..., Awaitable[Any]] = KubernetesCluster._request

    @functools.wraps(original)
    async def request(self: Any, method: str, resource: Any, path: str, *args: Any, **options: Any) -> Any:
        if method not in _WRITES or resource.kind in _NOT_OURS:
            return await original(self, method, resource, path, *args, **options)
        body = options.get("body") or (args[1] if len(args) > 1 else None) or {}
        name = written(method, resource.kind, path, body)
        # So that whoever sees the write pass can tell whose it is, and which one. Both are read before anything waits.
        self._client.user_agent = agent(os.getpid())
        self._client.default_headers[HEADER] = f"{_namespace.get()} {name}"
        # Here every check has been passed: one that stands still at this point sends its write when it wakes.
        doom.reach(f"{name}, before")
        try:
            answer = await original(self, method, resource, path, *args, **options)
        except BaseException as error:
            doom.reach(f"{name}, after", outcome=type(error).__name__)
            raise
        doom.reach(f"{name}, after", outcome="ok")
        return answer

    KubernetesCluster._request = request  # type: ignore[method-assign]


def _tell_steps(doom: Doom) -> None:
    from regent.engine.run_progress import RunProgress

    original = RunProgress.__init__

    @functools.wraps(original)
    def init(self: RunProgress, *, steps: Mapping[str, Any], **options: Any) -> None:
        original(self, steps={name: _Step(step, doom) for name, step in steps.items()}, **options)

    RunProgress.__init__ = init  # type: ignore[method-assign]


def _name_parts() -> None:
    from regent.engine.adopting import Adopting
    from regent.engine.finalizers import Finalizers
    from regent.engine.policies import PolicyReconciler
    from regent.engine.policy_writer import PolicyWriter
    from regent.engine.runs import RunExecutor

    for method in ("commit", "promoted", "turned_back", "next_attempt", "release"):
        _name_part(PolicyWriter, method, method)
    for method in ("hold_run", "hold_policy", "let_run_go", "let_policy_go"):
        _name_part(Finalizers, method, method)
    _name_part(RunExecutor, "start", "start")
    for method in ("show", "keep"):
        _name_part(PolicyReconciler, f"_{method}", method)
    _name_part(Adopting, "adopt", "adopt")
    original: Callable[..., Awaitable[Any]] = PolicyReconciler.reconcile

    @functools.wraps(original)
    async def reconcile(self: Any, key: Any) -> Any:
        token = _namespace.set(key.namespace)
        try:
            return await original(self, key)
        finally:
            _namespace.reset(token)

    PolicyReconciler.reconcile = reconcile  # type: ignore[method-assign]


def main() -> None:
    """Run `regent` with its boundaries told."""
    doom = Doom(Path(os.environ[DIRECTORY]))
    _tell_writes(doom)
    _tell_steps(doom)
    _name_parts()
    from regent.cli.main import main as regent

    regent(prog_name="regent")


if __name__ == "__main__":
    main()
