"""Keeps an eye on the regions' member clusters: is the kubeconfig usable, does it answer, is it the right one?

Checks run apart from everything else and a few at a time: the member cluster of a region that is down hangs, and
nothing about that region may wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from regent.domain.conditions import Condition
from regent.domain.errors import ClusterError, ForbiddenError
from regent.domain.health.plan import ClusterReference
from regent.engine.ports import Clock
from regent.engine.region_secrets import RegionSecrets, SetupProblemError

log = logging.getLogger("regent.regions")

INTERVAL = 60.0
"""Seconds between two checks of one cluster."""

CONCURRENCY = 8
"""Checks at once."""

NOT_CONFIGURED = Condition(
    "ClusterConnected", "Unknown", "NotConfigured", "spec.cluster is not set: the region has no member cluster"
)
PENDING = Condition("ClusterConnected", "Unknown", "Pending", "the member cluster has not been looked at yet")


class MemberClusters(Protocol):
    """Connections to member clusters, one for each region."""

    async def identify(self, region: str, kubeconfig: str) -> str:
        """Connect with this kubeconfig (kept while it is the same) and return the uid of the kube-system namespace.

        Raises:
            ValueError: the kubeconfig is refused; the message says why, without quoting it.
            ClusterError: the cluster does not answer, or not to us.
        """
        ...

    async def forget(self, region: str) -> None:
        """Close the region's connection."""
        ...


@dataclass(slots=True)
class _Watched:
    reference: ClusterReference
    condition: Condition = PENDING
    uid: str = ""
    """Of the kube-system namespace that was found."""
    due: float = 0.0
    busy: bool = False


class ClusterChecks:
    """The condition ClusterConnected of every region.

    Args:
        changed: called with a region's name when its condition changed.
    """

    def __init__(
        self, *, members: MemberClusters, secrets: RegionSecrets, clock: Clock, changed: Callable[[str], None]
    ) -> None:
        self._members = members
        self._secrets = secrets
        self._clock = clock
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, region: str, reference: ClusterReference | None) -> None:
        """Check this cluster from now on; None: the region has none."""
        known = self._watched.get(region)
        if reference is None:
            if known is not None:
                self.forget(region)
        elif known is None or known.reference != reference:
            self._watched[region] = _Watched(reference)
            self._wake.set()

    def forget(self, region: str) -> None:
        """The region is gone, or has no cluster any more."""
        if self._watched.pop(region, None) is not None:
            self._spawn(self._members.forget(region))

    def condition(self, region: str) -> Condition:
        """Return the condition as it was found last."""
        watched = self._watched.get(region)
        return NOT_CONFIGURED if watched is None else watched.condition

    def uid(self, region: str) -> str:
        """The uid of the cluster's kube-system namespace, as found or as the spec says; "" when neither is known."""
        watched = self._watched.get(region)
        return "" if watched is None else watched.uid or watched.reference.uid

    async def run(self) -> None:
        """Check what is due, until cancelled."""
        try:
            while True:
                now = self._clock.monotonic()
                busy = sum(1 for watched in self._watched.values() if watched.busy)
                due = [name for name, item in self._watched.items() if item.due <= now and not item.busy]
                for name in due[: CONCURRENCY - busy]:
                    self._watched[name].busy = True
                    self._spawn(self._check(name, self._watched[name]))
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), timeout=1.0 if self._watched else None)
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check(self, region: str, watched: _Watched) -> None:
        try:
            found = await self._look(region, watched)
        except Exception:
            log.exception("Check of a member cluster failed", extra={"object": f"Region/{region}"})
            found = Condition(
                "ClusterConnected", "Unknown", "InternalError", "the check failed, see the operator's log"
            )
        finally:
            watched.busy = False
            watched.due = self._clock.monotonic() + INTERVAL
            self._wake.set()
        if found != watched.condition and self._watched.get(region) is watched:
            watched.condition = found
            self._changed(region)

    async def _look(self, region: str, watched: _Watched) -> Condition:
        reference = watched.reference
        try:
            uid = watched.uid = await self._members.identify(
                region, await self._secrets.kubeconfig(reference.kubeconfig)
            )
        except SetupProblemError as problem:
            return Condition("ClusterConnected", "False", problem.reason, str(problem))
        except ValueError as error:
            return Condition("ClusterConnected", "False", "KubeconfigRefused", f"the kubeconfig is refused: {error}")
        except ForbiddenError:
            return Condition(
                "ClusterConnected", "False", "Forbidden", "the kubeconfig's account may not read namespace kube-system"
            )
        except ClusterError:
            # No details: they differ from try to try, and each new text would be a write.
            return Condition(
                "ClusterConnected", "False", "Unreachable", "the member cluster's API server does not answer"
            )
        if reference.uid and uid != reference.uid:
            return Condition(
                "ClusterConnected",
                "False",
                "UidMismatch",
                f"the kubeconfig leads to another cluster: its kube-system has uid {uid}, spec.cluster.uid says "
                f"{reference.uid}. Nothing is done there",
            )
        return Condition("ClusterConnected", "True", "Connected", f"connected; uid of kube-system is {uid}")


SPEC_FAULTS = frozenset(
    {
        "SecretNamespaceNotAllowed",
        "SecretNotFound",
        "SecretForbidden",
        "SecretKeyNotFound",
        "SecretInvalid",
        "KubeconfigRefused",
        "UidMismatch",
    }
)
"""Reasons of ClusterConnected=False that somebody has to put right: they make the Region not Ready."""
