"""The port of promotion steps: things that are active in one region and stand by in the others.

A driver can always *observe* what it *promotes* and *demotes*, so that every effect is preceded by a look and a
repeated one is harmless. Calls return as soon as the change is asked for; that it has happened is only known by
observing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep
from regent.domain.failover.roles import RoleState, SyncState
from regent.engine.ports import Cluster


class PromotionDriver(Protocol):
    """One promotion step of one policy, in all regions.

    Every method raises ClusterError (UnavailableError when the region or its API cannot be reached: try again),
    PromotionProblemError (the step cannot be done as it is; says what to do), FencedOffError (a greater fence has been
    here: abort) and nothing else. Every call is bounded in time by its adapter.
    """

    @property
    def step(self) -> PromotionStep:
        """What the policy says about it."""
        ...

    async def observe(self, region: str) -> RoleState:
        """Look at the step in `region`, past every cache. A region that cannot be reached is UNKNOWN, not an error."""
        ...

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Ask for the active role in `region`. `source` is where the role was (its peer from now on); `run` is
        `namespace/name/uid` of the Failover, for deterministic names and idempotency keys."""
        ...

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Ask for the standby role in `region`; `successor` is the region that gets or has the active role."""
        ...

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Bring back the state whose `RoleState.snapshot` was taken before the run: replicas, patched fields, role."""
        ...

    async def sync(self, source: str, to: str) -> SyncState:
        """Say whether `to` has replayed everything that `source` acknowledged before it was demoted. Steps without
        data are always done."""
        ...

    async def divergence(self, region: str, active: str) -> str:
        """Say what `region`, active until `active` was promoted without it, has written since: text for people, "" for
        nothing. What it says is lost when `region` is demoted."""
        ...


@runtime_checkable
class Holding(Protocol):
    """A driver that can stop an active side without tying it to another one."""

    async def hold(self, region: str, *, fence: Fence, run: str) -> None:
        """Ask for a role that takes no writes and follows nobody: what the region has written stays as it is, for
        `divergence` to tell and a person to save. Raises as `PromotionDriver.demote` does."""
        ...


class DriverFactory(Protocol):
    """Makes the promotion drivers of a policy."""

    def drivers(self, policy: PolicySpec) -> Sequence[PromotionDriver]:
        """Return one driver for each of `policy.options.promotion`, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationState:
    """What is known about a region that cannot be asked itself."""

    proved: bool
    """Nothing of the policy writes in the region any more, and nothing will before it is released."""
    possible: bool
    """Waiting longer can bring proof: an agent is known there. False: no agent, only a person can say."""
    message: str
    """For people: what is known, and what is waited for."""
    retry_after: float = 1.0
    """Seconds until it is worth asking again."""
    asked: bool = False
    """An agent is connected and has been asked, and has not said yet that it is done: it may never be, where what it
    has to stop does not answer it either."""


class NoDrivers:
    """A `DriverFactory` for policies without promotion steps."""

    def drivers(self, policy: PolicySpec) -> Sequence[PromotionDriver]:
        """Return no driver."""
        return ()


class Isolation(Protocol):
    """Proof that a region which cannot be asked writes no more: its agent's word, or its agent's silence for long
    enough."""

    async def isolate(self, policy: PolicySpec, region: str, *, fence: Fence) -> IsolationState:
        """Ask the region's agent to demote and quiesce its side of the policy, and say how far that is. Idempotent."""
        ...


class ReplicationInRuns(Protocol):
    """The copies of Kubernetes objects that a policy's regions have of each other: its ReplicationPolicies."""

    async def synced(
        self, policy: PolicySpec, source: str, to: str, *, run: str, planned: bool
    ) -> Mapping[str, SyncState]:
        """Say, by Required ReplicationPolicy, whether everything that `source` had when this was asked first for `run`
        is in `to`. With `planned` False the source is not asked, and the message tells the lag."""
        ...

    async def asleep(self, policy: PolicySpec, region: str) -> Sequence[str]:
        """Name the copies in `region` that are kept asleep. Raises ClusterError and PromotionProblemError."""
        ...

    async def wake(self, policy: PolicySpec, region: str, *, fence: Fence) -> None:
        """Wake them with what they were in their source. Idempotent; raises as `asleep` does."""
        ...


class NoReplication:
    """A `ReplicationInRuns` where nothing is replicated."""

    async def synced(
        self, policy: PolicySpec, source: str, to: str, *, run: str, planned: bool
    ) -> Mapping[str, SyncState]:
        """Return nothing."""
        return {}

    async def asleep(self, policy: PolicySpec, region: str) -> Sequence[str]:
        """Return nothing."""
        return ()

    async def wake(self, policy: PolicySpec, region: str, *, fence: Fence) -> None:
        """Do nothing."""


class MemberAccess(Protocol):
    """The Kubernetes API of a region."""

    async def cluster(self, region: str, *, account: str = "") -> Cluster:
        """Return the `ports.Cluster` where the objects of `region` are: its member cluster, or the hub when the Region
        has no `spec.cluster`. `account`: `namespace:name` of the ServiceAccount to impersonate.

        Raises:
            UnavailableError: not reachable now, or its identity is not proved.
            PromotionProblemError: the Region or its Secret is wrong; says what to do.
        """
        ...

    def shared(self, first: str, second: str) -> bool:
        """Say whether the objects of both regions are in one cluster, as far as their Regions tell. Then an object of
        one name in one namespace is the same object for both, and cannot have two roles."""
        ...
