"""The Kubernetes API of each region, for the parts that act there in a run: `engine.promotion.MemberAccess`.

A region without a member cluster lives in the hub. With one, its kubeconfig is read from its Secret and nothing is done
over it before the cluster has shown the uid that the Region names: a kubeconfig that was swapped, by mistake or not,
must not get a database of another region promoted. The proof is asked for again every few seconds.

The connections are apart from those of `region_clusters`, which watches whether the clusters answer: a check must
neither wait for a run nor close a connection under it.

A cluster that does not answer costs the time-out of one request and then nothing for a moment: a run asks about all its
steps in a region, one after the other, and must not wait for each of them while the other side could be promoted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from regent.domain.errors import ForbiddenError, PromotionProblemError, UnavailableError
from regent.domain.health.plan import ClusterReference
from regent.engine.ports import Clock, Cluster, Object
from regent.engine.queue import Key
from regent.engine.region_secrets import RegionSecrets, SetupProblemError
from regent.engine.resources import REGIONS
from regent.engine.store import Store

log = logging.getLogger("regent.regions")

LIMIT = 5.0
"""Seconds that reading the Secret, connecting and the proof may take together."""

PROOF = 10.0
"""Seconds for which a proof holds; then Secret and uid are looked at again."""


SILENCE = 2.0
"""Seconds for which a cluster that has let a request time out is not asked again."""


class MemberClients(Protocol):
    """Clients of member clusters, one for each region."""

    async def identify(self, region: str, kubeconfig: str) -> str:
        """Return the uid of the kube-system namespace; see `region_clusters.MemberClusters`."""
        ...

    async def client(self, region: str, kubeconfig: str, *, account: str = "") -> Cluster:
        """Return the client for this kubeconfig, acting as ServiceAccount `account` (`namespace:name`) when given.

        Raises:
            ValueError: the kubeconfig is refused; the message says why, without quoting it.
        """
        ...

    def subscribe(self, listener: Callable[[str, bool], None]) -> None:
        """Tell `listener` the region of each answer (True) and of each request that timed out (False)."""
        ...

    async def forget(self, region: str) -> None:
        """Close the region's connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Proved:
    """A kubeconfig whose cluster has shown the right uid, until a monotonic time."""

    reference: ClusterReference
    kubeconfig: str
    until: float


class RegionAccess:
    """Implements `regent.engine.promotion.MemberAccess`.

    Args:
        store: where the Regions are.
        read_reference: takes `spec.cluster` out of a Region; None when it has none, ValueError when unreadable.
        secrets: reads the kubeconfigs.
        members: makes the clients; nobody else may use this one.
        hub: returns the client of the hub that acts as an account (`namespace:name`; "": as ourselves).
    """

    def __init__(
        self,
        *,
        store: Store,
        read_reference: Callable[[Object], ClusterReference | None],
        secrets: RegionSecrets,
        members: MemberClients,
        hub: Callable[[str], Cluster],
        clock: Clock,
    ) -> None:
        self._store = store
        self._read_reference = read_reference
        self._secrets = secrets
        self._members = members
        self._hub = hub
        self._clock = clock
        self._proved: dict[str, _Proved] = {}
        self._used: dict[str, ClusterReference] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._silent_until: dict[str, float] = {}
        self._closing: set[asyncio.Task[None]] = set()
        members.subscribe(self._heard)
        store.subscribe(REGIONS, self._region_changed)

    async def cluster(self, region: str, *, account: str = "") -> Cluster:
        """Return the cluster where the region's objects are; see the port."""
        # From the object and not from what was made of it earlier: a Region that nobody has looked at yet must not
        # pass for one without a member cluster, whose objects would be sought, and changed, in the hub.
        reference = self._reference(region)
        if reference is None:
            return self._hub(account)
        left = self._silent_until.get(region, 0.0) - self._clock.monotonic()
        if left > 0:
            raise UnavailableError(f"the cluster of region {region} does not answer", reason="Silent", retry_after=left)
        try:
            async with asyncio.timeout(LIMIT):
                kubeconfig = await self._prove(region, reference)
                return await self._members.client(region, kubeconfig, account=account)
        except TimeoutError as error:
            self._heard(region, False)
            raise UnavailableError(f"the cluster of region {region} does not answer", reason="Timeout") from error
        except SetupProblemError as problem:
            raise PromotionProblemError(problem.reason, f"region {region}: {problem}") from problem
        except ValueError as error:
            raise PromotionProblemError(
                "KubeconfigRefused", f"the kubeconfig of region {region} is refused: {error}"
            ) from error

    def shared(self, first: str, second: str) -> bool:
        """Say whether both are in the hub, or name the same cluster; see the port."""
        try:
            one, other = self._reference(first), self._reference(second)
        except PromotionProblemError:
            return False  # said by whoever wants to go there
        if one is None or other is None:
            return one is other
        return one.uid == other.uid if one.uid and other.uid else one.kubeconfig == other.kubeconfig

    async def close(self) -> None:
        """Close all connections."""
        for region, reference in list(self._used.items()):
            self._close(region, reference)
        await asyncio.gather(*self._closing)

    def _reference(self, region: str) -> ClusterReference | None:
        obj = self._store.get(REGIONS, "", region)
        if obj is None:
            raise PromotionProblemError("RegionNotFound", f"Region {region} does not exist: create it")
        try:
            return self._read_reference(obj)
        except ValueError as error:
            raise PromotionProblemError(
                "RegionInvalid", f"Region {region} cannot be read: see its condition Ready"
            ) from error

    async def _prove(self, region: str, reference: ClusterReference) -> str:
        """Return the kubeconfig of `reference`, whose cluster has shown the right uid not long ago."""
        async with self._locks.setdefault(region, asyncio.Lock()):
            known = self._proved.get(region)
            if known is not None and known.reference == reference and self._clock.monotonic() < known.until:
                return known.kubeconfig
            self._proved.pop(region, None)
            self._used[region] = reference
            kubeconfig = await self._secrets.kubeconfig(reference.kubeconfig)
            try:
                uid = await self._members.identify(region, kubeconfig)
            except ForbiddenError as error:
                raise PromotionProblemError(
                    "Forbidden",
                    f"the kubeconfig of region {region} is not accepted, or its account may not read namespace "
                    "kube-system: renew its credentials, and apply deploy/member there",
                ) from error
            if reference.uid and uid != reference.uid:
                raise PromotionProblemError(
                    "UidMismatch",
                    f"the kubeconfig of region {region} leads to another cluster: its kube-system has uid {uid}, "
                    f"spec.cluster.uid says {reference.uid}. Nothing is done there",
                )
            self._proved[region] = _Proved(reference, kubeconfig, self._clock.monotonic() + PROOF)
            return kubeconfig

    def _heard(self, region: str, answered: bool) -> None:
        if answered:
            self._silent_until.pop(region, None)
        else:
            self._silent_until[region] = self._clock.monotonic() + SILENCE

    def _region_changed(self, key: Key) -> None:
        used = self._used.get(key.name)
        if used is None:
            return
        try:
            if self._reference(key.name) == used:
                return
        except PromotionProblemError as problem:
            log.debug("Connection to a member cluster is closed: %s", problem)
        self._close(key.name, used)

    def _close(self, region: str, used: ClusterReference) -> None:
        task = asyncio.get_running_loop().create_task(self._forget(region, used))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _forget(self, region: str, used: ClusterReference) -> None:
        async with self._locks.setdefault(region, asyncio.Lock()):
            # Unless a call has connected anew meanwhile, with what the Region says now.
            if self._used.get(region) == used:
                self._used.pop(region)
                self._silent_until.pop(region, None)
                self._proved.pop(region, None)
                try:
                    await self._members.forget(region)
                except Exception:
                    log.exception("Connection to a member cluster not closed", extra={"object": f"Region/{region}"})
