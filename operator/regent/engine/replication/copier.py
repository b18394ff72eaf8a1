"""Writes copies: makes, changes, adopts, marks and deletes them in one target.

A copy is made by POST, which fails on an object that is already there, whoever made it a moment ago; it is changed by
server-side apply to exactly the object (uid) that was looked at. So an object that is not ours is never touched, also
when it takes the place of a copy between the look and the write.
"""

from __future__ import annotations

from regent.domain.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PromotionProblemError,
)
from regent.domain.replication import marks
from regent.domain.replication.kinds import CONFIG_MAP, SECRET
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.plan import Action, ActionKind, applied_body
from regent.domain.replication.shape import Desired
from regent.engine.ports import Clock, Leadership, Object
from regent.engine.replication.looking import SLEEPERS, Look, Tracked
from regent.engine.replication.losers import keep
from regent.engine.replication.ports import Access, CopyCluster
from regent.engine.replication.transfers import Transfers
from regent.engine.resources import SECRETS, Resource

MAX_KEPT = 4
TERMINATING = "because it is being terminated"
"""How an API server says that it makes nothing new in a namespace that goes."""


class Copier:
    """Writes the copies of one link."""

    def __init__(
        self,
        spec: ReplicationSpec,
        way: Way,
        *,
        access: Access,
        leadership: Leadership,
        clock: Clock,
        transfers: Transfers,
    ) -> None:
        self._spec = spec
        self._way = way
        self._access = access
        self._leadership = leadership
        self._clock = clock
        self._transfers = transfers
        self.kept: tuple[str, ...] = ()
        """What was overwritten although somebody else had written it, and where a record of it is; the last ones."""

    async def write(self, tracked: Tracked, look: Look, action: Action) -> Object:
        """Bring the copy to what is wanted; return it as the API server has it then.

        Raises:
            ConflictError: another object has the name, or others manage fields and the action does not force them.
            ClusterError, PromotionProblemError: as the API server or the way to it says.
        """
        if look.wanted is None:
            raise ValueError(f"{look.key}: nothing is wanted there")
        cluster = await self._access.cluster(self._way.target.region)
        body = self._body(look.wanted, look.target)
        resource = tracked.target.resource
        self._leadership.check()
        if look.target is None:
            written = await self._create(cluster, resource, tracked, body)
        else:
            written = await self._change(cluster, tracked, look.target, body, action)
        if tracked.include_status and body.get("status"):
            self._leadership.check()
            written = await cluster.apply(resource, _identified(body, written), force=True, status=True)
        self._transfers.add(self._way, body)
        tracked.target.lend(written)
        return written

    async def mark_missing(self, tracked: Tracked, target: Object) -> None:
        """Leave a tombstone on a copy whose source is gone."""
        await self._patch(tracked, target, marks.tombstone_patch(self._clock.wall()))

    async def revive(self, tracked: Tracked, target: Object) -> None:
        """Take the tombstone off a copy whose source is there again."""
        await self._patch(tracked, target, marks.revive_patch())

    async def release(self, tracked: Tracked, target: Object) -> None:
        """Make a copy an object like any other."""
        await self._patch(tracked, target, marks.release_patch())

    async def delete(self, tracked: Tracked, target: Object) -> None:
        """Delete a copy, in exactly the version that was looked at."""
        cluster = await self._access.cluster(self._way.target.region)
        metadata = target["metadata"]
        self._leadership.check()
        try:
            await cluster.remove(
                tracked.target.resource,
                str(metadata.get("namespace", "")),
                metadata["name"],
                uid=metadata["uid"],
                version=str(metadata.get("resourceVersion", "")),
            )
        except NotFoundError:
            tracked.target.remove(target)

    async def _create(self, cluster: CopyCluster, resource: Resource, tracked: Tracked, body: Object) -> Object:
        try:
            return await cluster.create(resource, body)
        except AlreadyExistsError:
            # Somebody was faster, or the echo of our own write is late: look at it, then decide anew.
            namespace, name = body["metadata"].get("namespace", ""), body["metadata"]["name"]
            tracked.target.lend(await cluster.get(resource, namespace, name))
            raise
        except (NotFoundError, ForbiddenError) as error:
            problem = _namespace_problem(error, resource, body["metadata"].get("namespace", ""))
            if not problem:
                raise
            # It is about all objects of the link, so it is said once, and none of them is counted as failed.
            raise PromotionProblemError("NamespaceMissing", f"region {self._way.target.region}: {problem}") from error

    async def _change(
        self,
        cluster: CopyCluster,
        tracked: Tracked,
        target: Object,
        body: Object,
        action: Action,
    ) -> Object:
        metadata, resource = target["metadata"], tracked.target.resource
        # What is lost by it stands in the record in exactly this version: a later one is not to be lost with it.
        # And a failover may have woken a workload since it was looked at: it must not be put to sleep again.
        exact = action.keep_loser or tracked.kind.group_kind in SLEEPERS
        # What becomes a copy is the source's from now on, also where the source has less of it.
        whole = action.kind is ActionKind.ADOPT and action.force and not _by_name(target)
        if whole or (metadata.get("managedFields") and _may_leave(target, body, action)):
            namespace, name = str(metadata.get("namespace", "")), metadata["name"]
            version = metadata["resourceVersion"] if exact else ""
            target = await cluster.take_over(
                resource, namespace, name, uid=metadata["uid"], version=version, whole=whole
            )
        if action.keep_loser:
            target = await self._keep(cluster, resource, target, action)
        found = marks.read_marks(target)
        if found is not None and found.missing_since is not None:
            target = await self._patched(cluster, resource, target, marks.revive_patch())
        if action.removal is not None:
            target = await self._patched(cluster, resource, target, action.removal)
        return await cluster.apply(resource, _identified(body, target, version=exact), force=action.force)

    async def _keep(self, cluster: CopyCluster, resource: Resource, target: Object, action: Action) -> Object:
        """Make a record of what is about to be overwritten, as the API server has it; return it."""
        metadata, region = target["metadata"], self._way.target.region
        whole = await cluster.get(resource, str(metadata.get("namespace", "")), metadata["name"])
        if any(whole["metadata"][name] != metadata[name] for name in ("uid", "resourceVersion")):
            raise ConflictError(f"{metadata['name']} has changed since it was looked at")
        where = await keep(cluster, whole, policy_uid=self._spec.uid, reason=action.reason, now=self._clock.wall())
        what = f"{resource.kind}/{metadata['name']}: what it said in {region} is kept in {where}"
        self.kept = (*self.kept, f"{what} ({action.reason}: {action.message})"[:512])[-MAX_KEPT:]
        return whole

    async def _patch(self, tracked: Tracked, target: Object, change: Object) -> None:
        cluster = await self._access.cluster(self._way.target.region)
        self._leadership.check()
        try:
            written = await self._patched(cluster, tracked.target.resource, target, change)
        except NotFoundError:
            tracked.target.remove(target)
            return
        tracked.target.lend(written)

    async def _patched(self, cluster: CopyCluster, resource: Resource, target: Object, change: Object) -> Object:
        metadata = target["metadata"]
        exact = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        change = {**change, "metadata": {**change.get("metadata", {}), **exact}}
        return await cluster.patch(resource, str(metadata.get("namespace", "")), metadata["name"], change)

    def _body(self, wanted: Desired, target: Object | None) -> Object:
        """The copy with its marks. The one that tells when stays as it is while the content does."""
        known = marks.read_marks(target) if target is not None else None
        observed_at = self._clock.wall()
        if known is not None and known.content_hash == wanted.content_hash and known.observed_at is not None:
            observed_at = known.observed_at
        return applied_body(wanted, self._spec, self._way, observed_at=observed_at, target=target)


def _namespace_problem(error: NotFoundError | ForbiddenError, resource: Resource, namespace: str) -> str:
    """What is wrong with the namespace that nothing can be made in, for people; "" when it is something else.

    What a server says about a Secret is not repeated in errors; that it knows no Secrets is not possible.
    """
    if isinstance(error, NotFoundError) and (resource == SECRETS or f'namespaces "{namespace}"' in str(error)):
        # Its labels say how it is secured, so it is not for Regent to make.
        return f"namespace {namespace} does not exist there: create it"
    if TERMINATING in str(error):
        return f"namespace {namespace} is being deleted there: create it anew"
    return ""


def _may_leave(target: Object, body: Object, action: Action) -> bool:
    """Whether an apply could leave something that our POST has set and the source no longer has, or be refused for it.

    Not where it takes every field over and can only add: entries of ConfigMaps and Secrets are removed by name.
    """
    if not action.force or not _by_name(target):
        return True
    here, there = target["metadata"], body["metadata"]
    return any(set(here.get(field) or ()) - set(there.get(field) or ()) for field in ("labels", "annotations"))


def _by_name(target: Object) -> bool:
    """Whether entries that only the target has are removed by name."""
    return target.get("kind") in (CONFIG_MAP.kind, SECRET.kind)


def _identified(body: Object, target: Object, *, version: bool = False) -> Object:
    """The body, for exactly this object, and on request for exactly this version of it."""
    names = ("uid", "resourceVersion") if version else ("uid",)
    return {**body, "metadata": {**body["metadata"], **{name: target["metadata"][name] for name in names}}}
