"""Promotion of PostgreSQL under Patroni: the standby cluster of one region becomes the primary one, and the other way
round.

A role is changed by Patroni's dynamic configuration (`standby_cluster`); there is nothing else to switch. Patroni's
part is to do it in its region; the order between the regions, which is what keeps acknowledged writes, is the run's.
When a planned promotion may begin is argued in docs/adr/0018: as soon as the old primary is back in recovery, streams,
and the new side has replayed what the old one has. `patroni_state` judges what was seen, `patroni_api` asks,
`patroni_positions` remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from regent.adapters.promotion.patroni_access import PatroniAccess
from regent.adapters.promotion.patroni_api import TIMEOUT, Clients, PatroniSecrets
from regent.adapters.promotion.patroni_distance import QUICK, Distance
from regent.adapters.promotion.patroni_history import Histories, never_follows, promoted_itself, rebuild
from regent.adapters.promotion.patroni_positions import Loss, Positions, Track
from regent.adapters.promotion.patroni_state import (
    FENCE_KEY,
    HELD_KEY,
    NOWHERE,
    Address,
    PatroniSettings,
    Seen,
    judge,
    replacing,
    standby_snapshot,
)
from regent.domain.errors import FencedOffError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.engine.ports import Clock
from regent.engine.promotion import PromotionDriver

LEADING = 15.0
"""Seconds between two requests to Patroni to take its leader key."""


class PatroniDriver:
    """The `PromotionDriver` of one step of type Patroni.

    Args:
        step: the step; `settings` is the API's `patroni`.
        namespace: of the policy, where its Secrets are.
        clients: send the requests.
        secrets: credentials and certificate authority.
        tracks: what is remembered of the step's regions; outlives the driver.
        clock: ages of what is remembered.
    """

    def __init__(
        self,
        step: PromotionStep,
        *,
        namespace: str,
        clients: Clients,
        secrets: PatroniSecrets,
        tracks: dict[str, Track],
        clock: Clock,
    ) -> None:
        self._step = step
        self._settings = PatroniSettings.read(step.settings)
        self._access = PatroniAccess(
            self._settings, step=step.name, namespace=namespace, clients=clients, secrets=secrets
        )
        self._tracks = tracks
        self._clock = clock
        self._histories = Histories(self._history, tracks)
        self._distance = Distance(self._try, self._histories, tracks, clock)

    @property
    def step(self) -> PromotionStep:
        """See the port."""
        return self._step

    async def observe(self, region: str) -> RoleState:
        """See the port. The lag of a standby is told where its primary is known."""
        if region not in self._settings.clusters:
            return RoleState(role=Role.ABSENT, message=f"step {self._step.name} lists no cluster in {region}")
        try:
            seen = await self._look(region)
        except UnavailableError as error:
            return RoleState(role=Role.UNKNOWN, message=str(error))
        judgement = judge(seen)
        behind, doubt, apart = None, "", ""
        if judgement.role is Role.STANDBY:
            behind, doubt, apart = await self._distance.of(region, seen, [*self._settings.clusters])
        return RoleState(
            role=judgement.role,
            message=f"{judgement.message}; {apart}" if apart else judgement.message,
            fence=seen.fence,
            position=seen.position,
            # A standby's timeline is not told reliably: too low until its next restartpoint.
            history=str(seen.timeline) if judgement.role is Role.ACTIVE and seen.timeline is not None else "",
            lag=behind,
            doubt=doubt,
            diverged=apart,
            wanted=Role.ACTIVE if seen.standby_of is None else Role.STANDBY,
            held=seen.held,
            snapshot=standby_snapshot(seen),
        )

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Take `standby_cluster` out of the region's configuration; see the port."""
        seen = await self._look(region)
        self._refuse(region, seen, fence)
        if seen.standby_of is None:
            return  # Patroni is at it, or done
        if not seen.recovering:
            raise UnavailableError(f"PostgreSQL of {region} cannot be promoted now: {judge(seen).message}")
        await self._same_database(region, seen, source)
        await self._configure(region, None, seen, fence)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Make the region's cluster the standby cluster of the successor's; see the port."""
        seen = await self._look(region)
        self._refuse(region, seen, fence)
        address = await self._address(successor)
        current = seen.standby_of or {}
        if (current.get("host"), current.get("port", 5432)) == (address.host, address.port):
            await self._lead(region, seen)
            return
        await self._same_database(region, seen, successor)
        await self._same_timeline(region, seen, successor)
        slot = self._settings.clusters[region].slot
        wanted: dict[str, Any] = {"host": address.host, "port": address.port}
        if slot or current.get("primary_slot_name"):
            wanted["primary_slot_name"] = slot or None  # a slot of another primary is none of this one
        if seen.held:
            wanted["restore_command"] = None
        await self._configure(region, wanted, seen, fence)

    async def hold(self, region: str, *, fence: Fence, run: str) -> None:
        """Make the region's cluster a standby cluster of nobody; see `regent.engine.promotion.Holding`."""
        seen = await self._look(region)
        self._refuse(region, seen, fence)
        nobody = replacing({"restore_command": NOWHERE}, seen.standby_of)
        if not seen.held:
            await self._configure(region, nobody, seen, fence, held=True)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Bring back the region's `standby_cluster` as it was, or take it out; see the port."""
        if "standbyCluster" not in snapshot:
            return
        wanted = snapshot["standbyCluster"]
        seen = await self._look(region)
        self._refuse(region, seen, fence)
        if (wanted or None) == (dict(seen.standby_of) if seen.standby_of else None):
            return
        await self._configure(region, replacing(wanted, seen.standby_of), seen, fence)

    async def sync(self, source: str, to: str) -> SyncState:
        """Compare the final position of the old primary, which it tells itself once it is back in recovery, with what
        the new side has replayed. When the old primary cannot be asked, the message bounds what may be lost."""
        old, new = await asyncio.gather(self._try(source), self._try(to))
        if isinstance(new, UnavailableError):
            return SyncState(done=False, message=str(new))
        if isinstance(old, UnavailableError):
            return SyncState(done=False, message=str(await self._distance.loss(source, to, new)))
        if old.identifier != new.identifier:
            raise self._mismatch(source, old.identifier, to, new.identifier)
        fork = await self._histories.left(to, new, source)
        if fork is not None:
            # It would seem to stream, and to be as far: the positions are of two histories.
            raise PromotionProblemError("Diverged", never_follows(to, new, source, fork))
        behind = None if old.position is None or new.position is None else max(0, old.position - new.position)
        waits = await self._not_in_step(source, old, to, new, behind)
        if waits:
            loss = await self._distance.loss(source, to, new)
            return SyncState(done=False, message=waits, behind=behind, loss=str(loss))
        return SyncState(done=True, message=f"{to} has replayed all of {source}, up to {new.position}", behind=0)

    async def estimate_loss(self, source: str, to: str) -> Loss:
        """Bound what promoting `to` loses when `source` is gone for good.

        Raises:
            UnavailableError: `to` cannot be asked.
        """
        return await self._distance.loss(source, to, await self._look(to))

    async def divergence(self, region: str, active: str) -> str:
        """Tell what a former primary wrote after `active` was promoted: text for people, "" when there is nothing.
        Following `active` will undo these writes (pg_rewind).

        Raises:
            UnavailableError: one of the two cannot be asked, or cannot tell yet.
        """
        seen, promoted = await asyncio.gather(self._look(region), self._look(active))
        if seen.standby_of is not None and not seen.held:
            return ""  # it writes no more, and what it had written before was judged when it was told to follow
        # What is held back was shut down as a primary: all that it wrote is replayed once it has started again.
        final = seen.recovering is True if seen.held else seen.recovering is False
        if not final or promoted.recovering is not False or seen.position is None:
            # A primary that died is started in recovery and promoted anew: its position is not final before that.
            raise UnavailableError(f"what {region} wrote is not known yet: {judge(seen).message}")
        fork = await self._histories.fork(region, seen, active, promoted)
        wrote = (
            f"{region} wrote {seen.position - fork.position} bytes of WAL on timeline {seen.timeline} that {active}, "
            f"which was promoted at position {fork.position}, does not have"
        )
        if promoted_itself(seen, fork):
            raise rebuild(seen, active, wrote)
        return f"{wrote}; they are undone when it follows {active}" if seen.position > fork.position else ""

    # -----------------------------------------------------------------------------------------------------------

    async def _history(self, region: str) -> list[tuple[int, int]]:
        return await (await self._access.api(region)).history()

    async def _look(self, region: str, *, timeout: float = TIMEOUT) -> Seen:
        api = await self._access.api(region)
        track = self._tracks.setdefault(region, Track())
        asked = self._clock.monotonic()
        try:
            seen = await api.look(timeout=timeout)
        except UnavailableError:
            track.failed = self._clock.monotonic()
            raise
        track.note(seen, asked=asked)
        return seen

    async def _try(self, region: str, *, timeout: float = TIMEOUT) -> Seen | UnavailableError:
        try:
            return await self._look(region, timeout=timeout)
        except UnavailableError as error:
            return error

    def _refuse(self, region: str, seen: Seen, fence: Fence) -> None:
        """Raise what forbids a change of the region."""
        if seen.fence is not None and seen.fence > fence:
            raise FencedOffError(f"Patroni of {region} carries the fence {seen.fence}, ours is {fence}")
        if seen.paused:
            raise PromotionProblemError(
                "PatroniPaused",
                f"Patroni of {region} is paused and would not follow a change: run `patronictl resume` there",
            )

    async def _same_database(self, region: str, seen: Seen, other: str) -> None:
        """Refuse to tie two databases together that are no copies of one another. An `other` that never answered
        cannot be compared: pg_rewind and PostgreSQL itself refuse a foreign database as well."""
        track = self._tracks.get(other)
        identifier = track.identifier if track is not None else ""
        if not identifier and other in self._settings.clusters:
            answer = await self._try(other, timeout=QUICK)
            identifier = answer.identifier if isinstance(answer, Seen) else ""
        if identifier and seen.identifier and identifier != seen.identifier:
            raise self._mismatch(region, seen.identifier, other, identifier)

    async def _lead(self, region: str, seen: Seen) -> None:
        """Let a standby cluster have a leader that would stay without one, see docs/adr/0021."""
        track, now = self._tracks.setdefault(region, Track()), self._clock.monotonic()
        if seen.role != "replica" or not seen.streaming or (track.led is not None and now - track.led < LEADING):
            return
        api = await self._access.api(region, changing=True)
        if await api.address() is None:
            track.led = now
            await api.lead(seen.name)

    async def _same_timeline(self, region: str, seen: Seen, successor: str) -> None:
        """Refuse to let a primary follow another one when it was promoted itself since the two parted, as after a
        crash: each then has a timeline of the same number and of its own. Patroni and pg_rewind compare numbers, take
        the two for one, and rewind nothing; the database would keep what it wrote and never stream. And refuse to stop
        a primary for a standby that has left its history."""
        if seen.recovering is not False and not seen.held:
            return
        other = await self._try(successor, timeout=QUICK)
        if isinstance(other, UnavailableError):
            return  # nobody can say
        if other.recovering is not False:
            left = await self._histories.left(successor, other, region) if not seen.held else None
            if left is not None:
                raise PromotionProblemError("Diverged", never_follows(successor, other, region, left))
        elif promoted_itself(seen, await self._histories.fork(region, seen, successor, other)):
            raise rebuild(seen, successor, f"{region} goes on beside {successor}")

    def _mismatch(self, region: str, identifier: str, other: str, others: str) -> PromotionProblemError:
        return PromotionProblemError(
            "IdentifierMismatch",
            f"the databases of {region} (system identifier {identifier}) and {other} ({others}) are not copies of one "
            f"another: correct patroni.clusters, or make the standby cluster anew from the primary one",
        )

    async def _address(self, region: str, *, fresh: bool = True) -> Address:
        """Where the PostgreSQL of a region is reached: as the step says, else as its Patroni says, else as it said.
        Without `fresh`, what it said before is good enough."""
        cluster = self._settings.clusters.get(region)
        if cluster is not None and cluster.host:
            return Address(host=cluster.host, port=cluster.port or 5432)
        track = self._tracks.setdefault(region, Track())
        if fresh or track.address is None:
            try:
                track.address = await (await self._access.api(region)).address() or track.address
            except UnavailableError:
                if track.address is None:
                    raise
        if track.address is None:
            raise UnavailableError(f"Patroni of {region} has no leader now, so nobody knows where to follow it")
        found = track.address
        return replace(found, port=cluster.port) if cluster is not None and cluster.port else found

    async def _other_history(self, source: str, old: Seen, to: str, new: Seen) -> str:
        """Say why the positions of the two may belong to different histories; "" when they are of one.

        That the new side streams to the old primary is the proof: PostgreSQL streams a timeline only after it has found
        it in its own history. The timelines that Patroni tells of standbys are too low until their next restartpoint,
        so a lower one means nothing; a higher one does.
        """
        address = await self._address(to, fresh=False)
        followed = (old.standby_of or {}).get("host")
        if followed != address.host:
            return f"{source} follows {followed}, and not {to} at {address.host}"
        if old.name not in new.followers:
            return f"{to} does not stream to {old.name} of {source} yet: their histories may differ"
        if old.timeline is not None and new.timeline is not None and new.timeline > old.timeline:
            return f"{source} is on timeline {old.timeline}, {to} on {new.timeline}"
        return ""

    async def _not_in_step(self, source: str, old: Seen, to: str, new: Seen, behind: int | None) -> str:
        """Say what is missing until `to` is known to have all of `source`; "": nothing. The order is the ADR's."""
        if judge(old).role is not Role.STANDBY or not old.recovering:
            return f"the final position of {source} is not known yet: {judge(old).message}"
        if not old.streaming:
            return f"{source} is in recovery and does not stream yet: it may still be replaying WAL of its own"
        other = await self._other_history(source, old, to, new)
        if other:
            return other
        return f"{to} has {behind} bytes of WAL to replay" if behind is None or behind > 0 else ""

    async def _configure(
        self, region: str, standby: Mapping[str, Any] | None, seen: Seen, fence: Fence, *, held: bool = False
    ) -> None:
        """Write the role and the fence in one change."""
        api = await self._access.api(region, changing=True)
        ours: dict[str, Any] = {"fence": str(fence)}
        if held or seen.held:
            ours[HELD_KEY] = held or None
        await api.configure({"standby_cluster": standby, FENCE_KEY: ours})


def patroni_steps(
    *, clients: Clients, secrets: PatroniSecrets, clock: Clock
) -> dict[StepKind, Callable[[PolicySpec, PromotionStep], PromotionDriver]]:
    """Return the constructor of the steps of type Patroni, for `PromotionDrivers`."""
    positions = Positions()

    def make(policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
        return PatroniDriver(
            step,
            namespace=policy.namespace,
            clients=clients,
            secrets=secrets,
            tracks=positions.of(f"{policy.namespace}/{policy.name}/{policy.uid}/{step.name}"),
            clock=clock,
        )

    return {StepKind.PATRONI: make}
