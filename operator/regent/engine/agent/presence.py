"""The agent's sign of life on the hub: a Lease that it renews while it acts for its region."""

from __future__ import annotations

import logging

from regent.domain.errors import AlreadyExistsError, ClusterError, ConflictError, NotFoundError
from regent.domain.times import rfc3339_micro
from regent.engine.agent_objects import IMPAIRED_ANNOTATION, LIMIT_ANNOTATION, agent_name
from regent.engine.ports import Clock, Cluster, Object
from regent.engine.resources import LEASES

log = logging.getLogger("regent.agent")


class HubPresence:
    """Renews the Lease, and knows when that last worked.

    Args:
        hub: with a request time-out well below `duration`.
        namespace: the operator's, on the hub.
        identity: of this process.
        duration: seconds without a renewal after which the region is fenced; whole seconds.
        limit: seconds within which that is promised to be done.
        clock: one whose monotonic time goes on while the machine is suspended.
    """

    def __init__(
        self,
        *,
        hub: Cluster,
        namespace: str,
        region: str,
        identity: str,
        duration: float,
        limit: float,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._namespace = namespace
        self._name = agent_name(region)
        self._identity = identity
        self._duration = duration
        self._limit = limit
        self._clock = clock
        self._lease: Object | None = None
        self.renewed: float | None = None
        """When the last renewal that succeeded was sent; None: none since this process acts."""
        self.problem = "not tried yet"
        """Why the last renewal did not succeed; "": it did."""

    def begin(self) -> None:
        """This process has just begun to act: what it renewed before counts no more."""
        self.renewed = None
        self._lease = None

    async def renew(self, *, impaired: str) -> bool:
        """Renew once; say whether that worked. `impaired`: why the region could not be fenced now."""
        # From before the request: the hub cannot have seen this renewal any earlier.
        started = self._clock.monotonic()
        try:
            await self._write(impaired)
        except ConflictError:
            self._lease, self.problem = None, "the Lease was written by another"
            return False
        except ClusterError as error:
            if not self.problem:
                log.warning("The hub cannot be reached: %s", error)
            self._lease, self.problem = None, str(error)
            return False
        if self.problem:
            log.info("Connected to the hub")
        self.renewed, self.problem = started, ""
        return True

    async def release(self) -> None:
        """Say that the agent stops on purpose: from now on its silence means nothing."""
        try:
            lease = await self._hub.get(LEASES, self._namespace, self._name)
            spec = {**(lease.get("spec") or {})}
            if spec.get("holderIdentity") != self._identity:
                return
            spec.update(holderIdentity="", renewTime=rfc3339_micro(self._clock.wall()))
            await self._hub.replace(LEASES, {**lease, "spec": spec})
        except ClusterError as error:
            log.warning("The Lease on the hub could not be released: %s", error)

    async def _write(self, impaired: str) -> None:
        lease = self._lease
        if lease is None:
            try:
                lease = await self._hub.get(LEASES, self._namespace, self._name)
            except NotFoundError:
                metadata = {"namespace": self._namespace, "name": self._name}
                lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
        claimed = self._claim(lease, impaired)
        if "resourceVersion" in lease["metadata"]:
            self._lease = await self._hub.replace(LEASES, claimed)
            return
        try:
            self._lease = await self._hub.create(LEASES, claimed)
        except AlreadyExistsError as error:
            raise ConflictError(str(error), status=error.status) from error

    def _claim(self, lease: Object, impaired: str) -> Object:
        """The Lease as renewed by us. It is taken from whoever holds it: only the one that holds the region's own
        Lease comes here, so the other is gone."""
        old = lease.get("spec") or {}
        now = rfc3339_micro(self._clock.wall())
        spec = {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "renewTime": now,
        }
        if old.get("holderIdentity") != self._identity:
            spec.update(acquireTime=now, leaseTransitions=int(old.get("leaseTransitions") or 0) + 1)
        annotations = {**(lease["metadata"].get("annotations") or {}), LIMIT_ANNOTATION: f"{self._limit:g}"}
        annotations.pop(IMPAIRED_ANNOTATION, None)
        if impaired:
            annotations[IMPAIRED_ANNOTATION] = impaired[:512]
        return {**lease, "metadata": {**lease["metadata"], "annotations": annotations}, "spec": spec}
