"""Whether this hub may act: asked before anything else when an operator starts, and every few seconds while it acts.

A hub that was lost may come back when another one has taken over. Its first look at what the regions have kept tells
it so, and it never begins; one that finds out while it acts ends its process, which is the one sure way to end what is
under way, and does not begin again. A standby hub begins when `regent hub promote` says so. A hub that has taken over
goes on to tell regions that could not be told then. Neighbours: `domain.hub_term` (the rules), `engine.hub_record` (the
hub's own memory), `engine.hub_epochs` (the regions'), `engine.hub_notice` (what people see).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping

from regent.domain.errors import (
    ClusterError,
    ForbiddenError,
    LeadershipLostError,
    PromotionProblemError,
    UnavailableError,
)
from regent.domain.failover.fence import Fence
from regent.domain.hub import TERM
from regent.domain.hub_term import Claim, HubRecord, HubRole, acting_role, superseded_by
from regent.engine.hub_epochs import Kept, OvertakenError, raise_kept, read_kept
from regent.engine.hub_identity import HubIdentity
from regent.engine.hub_notice import HubNotice
from regent.engine.hub_record import change_record, read_record
from regent.engine.ports import Clock, Cluster, Leadership, Metrics
from regent.engine.promotion import MemberAccess
from regent.engine.records import status_of
from regent.engine.resources import FAILOVER_POLICIES, REGIONS
from regent.engine.store import Store

log = logging.getLogger("regent.hub")

LOOK = 5.0
"""Seconds between two looks at the regions while this hub acts."""
WAIT = 1.0
"""Seconds between two looks at its own record while it does not, and at regions of which one was silent."""
FIRST = 1.0
"""Seconds that a region may take to answer before this hub has begun to act; a failover waits for it."""
LIMIT = 5.0
"""Seconds that it may take afterwards."""
PATIENCE = 10.0
"""Seconds for which a hub does not begin while no region at all answers. A region that does not answer must not keep
the others from being protected; but when none does, it is likely this hub that is cut off."""


class HubGuard:
    """Knows the role of this hub.

    Args:
        cluster: the hub.
        namespace: the operator's, here and in the regions.
        identity: the hub's uid.
        store: Regions and policies of this hub.
        members: how the regions' clusters are reached.
        follows: whether the settings name a hub to follow.
        leading: whether this replica holds the lease.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        namespace: str,
        identity: HubIdentity,
        store: Store,
        members: MemberAccess,
        notice: HubNotice,
        follows: bool,
        leading: Callable[[], bool],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._identity = identity
        self._store = store
        self._members = members
        self._notice = notice
        self._follows = follows
        self._leading = leading
        self._clock = clock
        self._metrics = metrics
        self._began: float | None = None
        self._silent = False
        self._electing = asyncio.Event()
        self._acting = asyncio.Event()
        self._following = asyncio.Event()
        self.role: HubRole | None = None
        """None until it is known."""

    @property
    def acting(self) -> bool:
        """True once this hub may act; that it may not any more ends the process."""
        return self._acting.is_set()

    @property
    def electing(self) -> bool:
        """True once its replicas may compete for the lease."""
        return self._electing.is_set()

    @property
    def following(self) -> bool:
        """True while it follows another hub."""
        return self._following.is_set()

    async def may_elect(self) -> None:
        """Wait until the replicas of this hub may compete for the lease."""
        await self._electing.wait()

    async def may_act(self) -> None:
        """Wait until this hub may act."""
        await self._acting.wait()

    async def follows(self) -> None:
        """Wait until this hub follows another one."""
        await self._following.wait()

    async def run(self) -> None:
        """Look, until cancelled.

        Raises:
            LeadershipLostError: this hub acted, and may not any more.
        """
        await self._identity.settled()
        while True:
            try:
                await self._round()
            except ForbiddenError as error:
                log.error("The role of this hub may not be looked up, so it does not act: %s", error)
            except ClusterError as error:
                # Before the first answer nothing begins; afterwards the lease tells when we are cut off for too long.
                log.debug("The role of this hub cannot be looked up now: %s", error)
            await asyncio.sleep(LOOK if self.acting and not self._silent else WAIT)

    async def _round(self) -> None:
        record = await read_record(self._cluster, self._namespace)
        role = acting_role(record, follows=self._follows)
        if role is not HubRole.ACTIVE and self.electing:
            raise LeadershipLostError(f"this hub is {role.value} now")
        self._take(role, record)
        if role is not HubRole.ACTIVE:
            await self._notice.show(role, record)
            return
        self._electing.set()
        await self._store.wait_synced()
        kept = await self._look()
        if kept is None:
            return
        claims = [found.claim(region) for region, found in kept.items()]
        claim = superseded_by(claims, hub=self._identity.uid, term=record.term)
        if claim is not None:
            await self._stop(claim)
        if not self.acting:
            log.info("This hub acts", extra={"hub": self._identity.uid, "term": record.term})
            self._acting.set()
        if record.term and self._leading():
            await self._tell(kept, record.term)

    def _take(self, role: HubRole, record: HubRecord) -> None:
        if role is self.role:
            return
        self.role = role
        for each in HubRole:
            self._metrics.gauge("regent_hub_role", float(each is role), role=each.value)
        if role is HubRole.STANDBY:
            self._following.set()
        else:
            self._following.clear()
        if role is HubRole.SUPERSEDED:
            log.error("This hub does not act: hub %s has taken over from it", record.other or "of another cluster")
        elif role is not HubRole.ACTIVE:
            log.info("This hub does not act: it is %s", role.value)

    async def _look(self) -> dict[str, Kept] | None:
        """What the regions have kept; None when it is too early to go by their silence."""
        regions = [
            str(obj["metadata"]["name"])
            for obj in self._store.list(REGIONS)
            if ((obj.get("spec") or {}).get("cluster") or {}).get("kubeconfigSecretRef")
        ]
        if self._began is None:
            self._began = self._clock.monotonic()
        answers = await asyncio.gather(*map(self._ask, regions))
        found = {region: answer for region, answer in zip(regions, answers, strict=True) if isinstance(answer, Kept)}
        self._silent = any(isinstance(answer, UnavailableError) for answer in answers)
        if regions and not self.acting and all(isinstance(answer, UnavailableError) for answer in answers):
            if self._clock.monotonic() < self._began + PATIENCE:
                return None
            log.warning("No region answers: this hub acts without having asked whether another one has taken over")
        return found

    async def _ask(self, region: str) -> Kept | ClusterError | PromotionProblemError:
        try:
            async with asyncio.timeout(LIMIT if self.acting else FIRST):
                return await read_kept(self._members, region, self._namespace)
        except (ClusterError, PromotionProblemError) as error:
            return error
        except TimeoutError:
            return UnavailableError(f"the cluster of region {region} does not answer", reason="Timeout")

    async def _stop(self, claim: Claim) -> None:
        text = f"region {claim.region} says that hub {claim.hub} has taken over from this one (term {claim.term})"
        log.error("Superseded: %s", text)
        try:
            await change_record(
                self._cluster,
                self._namespace,
                lambda record: dataclasses.replace(record, role=HubRole.SUPERSEDED, other=claim.hub),
            )
        except ClusterError as error:
            # The next start finds it out again.
            log.warning("That this hub is superseded could not be written down: %s", error)
        raise LeadershipLostError(text)

    async def _tell(self, kept: Mapping[str, Kept], term: int) -> None:
        """Leave our term, and the first epochs of it, in regions that were not reached by the takeover: an old hub that
        comes back together with its region must find it there too."""
        for region, found in kept.items():
            if (found.term, found.hub) >= (term, self._identity.uid):
                continue
            fences = self._fences(region, found)
            try:
                await raise_kept(
                    self._members, region, self._namespace, fences, seen=found, hub=self._identity.uid, term=term
                )
            except (OvertakenError, ClusterError, PromotionProblemError) as error:
                log.info("Region not told of this hub's term: %s", error, extra={"region": region})
            else:
                log.warning("Region told of this hub's term %d", term, extra={"region": region})

    def _fences(self, region: str, kept: Kept) -> dict[str, Fence]:
        found: dict[str, Fence] = {}
        for policy in self._store.list(FAILOVER_POLICIES):
            metadata = policy["metadata"]
            key = f"{metadata['namespace']}/{metadata['name']}"
            names = {item.get("name") for item in (policy.get("spec") or {}).get("regions") or ()}
            # What our own runs write there is never less than the first epoch of the policy's term.
            first = Fence(int(status_of(policy).get("epoch") or 0) // TERM * TERM)
            if region in names and first.epoch and kept.fences.get(key, Fence(0)) < first:
                found[key] = first
        return found


class GuardedLeadership:
    """Implements `ports.Leadership`: a replica leads only in a hub that acts."""

    def __init__(self, inner: Leadership, guard: HubGuard) -> None:
        self._inner = inner
        self._guard = guard

    @property
    def leading(self) -> bool:
        """True while the lease is held and this hub acts."""
        return self._guard.acting and self._inner.leading

    @property
    def transitions(self) -> int:
        """Those of the lease."""
        return self._inner.transitions

    def check(self) -> None:
        """Raise LeadershipLostError unless leading, and in a hub that acts."""
        if not self._guard.acting:
            raise LeadershipLostError("this hub does not act")
        self._inner.check()
