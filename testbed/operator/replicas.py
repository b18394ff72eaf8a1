"""The replicas that the chart deploys: several operator processes side by side, of which one leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.operator.chart import Installation
from testbed.operator.process import OperatorError, OperatorProcess, Restart

_POLL = 0.02


class OperatorReplicas:
    """Context manager: `count` replicas as the chart's ServiceAccount; ready, with a leader, when it is entered.

    Args:
        installation: whom they run as and with which arguments.
        count: how many; the chart's default is 2.
        settings: settings by dotted key that differ from the chart's, such as {"failover.startupGrace": "1s"}.
        restart: whether a replica that ends is started again.
        directory: where their logs go.
        kubeconfig_for: gives each replica, by its number, its own kubeconfig (a proxy in front of the API server).
        program: the module that each runs, see OperatorProcess.
        environment_for: gives each replica, by its number, further variables.
        timeout: seconds until all are ready.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        count: int = 2,
        settings: Mapping[str, str] | None = None,
        restart: Restart = Restart.NEVER,
        directory: Path | None = None,
        kubeconfig_for: Callable[[int], Path] | None = None,
        program: str = "regent",
        environment_for: Callable[[int], Mapping[str, str]] | None = None,
        timeout: float = 40.0,
    ) -> None:
        self._timeout = timeout
        self.members = [
            OperatorProcess(
                kubeconfig_for(number) if kubeconfig_for else installation.kubeconfig,
                name=f"regent-{number}",
                args=installation.args,
                settings={**installation.settings, **(settings or {})},
                environment={**installation.environment, **(environment_for(number) if environment_for else {})},
                directory=directory,
                restart=restart,
                program=program,
            )
            for number in range(count)
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member)
            for member in self.members:
                member.wait_ready(timeout=self._timeout)
            self.leader(timeout=self._timeout)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[OperatorProcess]:
        return iter(self.members)

    def leader(self, *, timeout: float = 20.0) -> OperatorProcess:
        """The replica that leads; waits for one.

        Raises:
            OperatorError: none leads after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            leading = [member for member in self.members if member.running and member.leads()]
            if leading:
                return leading[0]
            if time.monotonic() >= deadline:
                tails = "\n".join(f"--- {member.name}\n{member.tail()}" for member in self.members)
                raise OperatorError(f"no replica leads after {timeout:.0f} s:\n{tails}")
            time.sleep(_POLL)

    def standby(self) -> OperatorProcess:
        """A replica that runs and does not lead."""
        leader = self.leader()
        return next(member for member in self.members if member is not leader and member.running)

    def logs(self) -> str:
        """The logs of all replicas, one after the other."""
        return "\n".join(f"--- {member.name}\n{member.log_text()}" for member in self.members)
