"""Objects of a policy in the clusters of its regions: how promotion drivers read and change them.

Every change carries the run's fence, is a compare-and-set on the object's resourceVersion and is refused when a greater
fence is there already: of two leaders that overlap, the old one fails here however late its request comes.

A driver declares what it does (`Access`), and what it has not declared is refused here. The access rules for the hub
and for member clusters are made of these declarations (`regent.adapters.promotion.rules`), so they cannot grant less,
and the drivers' tests show that they do not grant more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from regent.domain.errors import (
    AlreadyExistsError,
    ConflictError,
    FencedOffError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PromotionProblemError,
    UnavailableError,
)
from regent.domain.failover.fence import ANNOTATION, Fence, parse_fence
from regent.domain.merge_patch import applied
from regent.engine.ports import Cluster, Object
from regent.engine.promotion import MemberAccess
from regent.engine.resources import Resource

Access = Mapping[Resource, frozenset[str]]
"""What a driver does with which kinds: the verbs of Kubernetes RBAC."""

Patch = dict[str, Any]
"""A JSON merge patch (RFC 7386)."""

MAX_CONFLICTS = 8
"""Rereads after a conflict before giving up until the next try."""


class Objects:
    """The objects of one driver, in all regions.

    Args:
        members: where the regions' objects are.
        namespace: of the policy, in every cluster.
        access: what the driver does; None for steps that act as the policy's ServiceAccount, whose rights are its own.
        account: name of that ServiceAccount; "": Regent's own account.
    """

    def __init__(self, *, members: MemberAccess, namespace: str, access: Access | None, account: str = "") -> None:
        self._members = members
        self._namespace = namespace
        self._access = access
        self._account = account

    @property
    def namespace(self) -> str:
        """The namespace of the objects."""
        return self._namespace

    def shared(self, first: str, second: str) -> bool:
        """Say whether both regions' objects are in one cluster."""
        return self._members.shared(first, second)

    async def discover(self, region: str, api_version: str, kind: str) -> Resource | None:
        """Return where a kind is served in the region; None when it is not known there."""
        with self._problems(region, f"find {kind}"):
            try:
                return await (await self._cluster(region)).discover(api_version, kind)
            except NotFoundError:
                return None

    async def read(self, region: str, resource: Resource, name: str) -> Object | None:
        """Return the object as it is now; None when it, or its kind, is not there."""
        self._check(resource, "get")
        with self._problems(region, f"get {resource.kind} {name}"):
            try:
                return await (await self._cluster(region)).get(resource, self._where(resource), name)
            except NotFoundError:
                return None

    async def listed(self, region: str, resource: Resource, *, selector: str = "") -> Sequence[Object]:
        """Return the objects of the namespace; none when the kind is not there."""
        self._check(resource, "list")
        with self._problems(region, f"list {resource.plural}"):
            try:
                cluster = await self._cluster(region)
                return await cluster.list(resource, self._namespace, label_selector=selector)
            except NotFoundError:
                return ()

    async def create(self, region: str, resource: Resource, obj: Object) -> Object:
        """Create the object; when one of its name is there already, return that one."""
        self._check(resource, "create")
        name = str(obj["metadata"]["name"])
        with self._problems(region, f"create {resource.kind} {name}"):
            cluster = await self._cluster(region)
            try:
                return await cluster.create(resource, obj)
            except AlreadyExistsError:
                return await cluster.get(resource, self._where(resource), name)

    async def change(
        self, region: str, resource: Resource, name: str, *, fence: Fence, edit: Callable[[Object], Patch]
    ) -> Object:
        """Change the object by the patch that `edit` makes of it, with the fence; return it as it is then.

        `edit` is called again with the object as it is by then when somebody else wrote in between, and may raise.

        Raises:
            FencedOffError: a greater fence is on the object.
            PromotionProblemError: the object is missing, or the API server refuses the change.
            UnavailableError: not reachable, or others keep writing.
        """
        self._check(resource, "get")
        self._check(resource, "patch")
        for _ in range(MAX_CONFLICTS):
            present = await self.read(region, resource, name)
            if present is None:
                raise self.missing(region, resource.kind, name)
            refuse_older(present, fence)
            patch = _sealed(edit(present), present, fence)
            if applied(present, patch):
                return present
            with self._problems(region, f"patch {resource.kind} {name}"):
                try:
                    return await (await self._cluster(region)).patch(resource, self._where(resource), name, patch)
                except (ConflictError, NotFoundError):
                    continue
                except (ForbiddenError, InvalidError):
                    # An admission policy of the cluster refuses older fences too; then a newer one has just come.
                    refuse_older(await self.read(region, resource, name) or {}, fence)
                    raise
        raise UnavailableError(f"{resource.kind} {name} was changed by others {MAX_CONFLICTS} times while we wrote it")

    def missing(self, region: str, kind: str, name: str) -> PromotionProblemError:
        """Return the error for an object that has to be there."""
        return PromotionProblemError(
            "ObjectNotFound",
            f"{kind} {name} does not exist in namespace {self._namespace} of region {region}: create it",
        )

    async def _cluster(self, region: str) -> Cluster:
        account = f"{self._namespace}:{self._account}" if self._account else ""
        return await self._members.cluster(region, account=account)

    def _where(self, resource: Resource) -> str:
        return self._namespace if resource.namespaced else ""

    def _check(self, resource: Resource, verb: str) -> None:
        if self._access is not None and verb not in self._access.get(resource, frozenset()):
            raise AssertionError(f"{verb} {resource.plural} is not declared by this driver")

    @contextlib.contextmanager
    def _problems(self, region: str, what: str) -> Iterator[None]:
        """Turn refusals into problems that say what to do; what may pass by itself stays as it is."""
        try:
            yield
        except ForbiddenError as error:
            if error.status == 401:
                raise PromotionProblemError(
                    "Unauthorized", f"region {region} does not accept our credentials: renew its kubeconfig's Secret"
                ) from error
            if self._account:
                hint = (
                    f"give ServiceAccount {self._namespace}/{self._account} that right, and ours the verb impersonate "
                    "on it (chart value promotion.serviceAccounts; deploy/member in a member cluster)"
                )
            else:
                hint = "grant it with the chart value promotion.kinds on the hub, or deploy/member in a member cluster"
            raise PromotionProblemError("Forbidden", f"may not {what} in region {region}: {error}; {hint}") from error
        except InvalidError as error:
            raise PromotionProblemError("Refused", f"{what} in region {region} was refused: {error}") from error


def fence_of(obj: Mapping[str, Any]) -> Fence | None:
    """Return the fence on an object; None when there is none."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return parse_fence(str(annotations.get(ANNOTATION, "")))


def refuse_older(obj: Mapping[str, Any], fence: Fence) -> None:
    """Raise FencedOffError when the object carries a greater fence."""
    found = fence_of(obj)
    if found is not None and found > fence:
        raise FencedOffError(f"{obj.get('kind')} {obj['metadata'].get('name')} carries fence {found}, ours is {fence}")


def _sealed(patch: Patch, present: Object, fence: Fence) -> Patch:
    """Return the patch with the fence, bound to the version of the object that it was made of (no two objects of a
    cluster ever have the same version, so one that was made anew is not taken for it)."""
    metadata = dict(patch.get("metadata") or {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: str(fence)}
    metadata["resourceVersion"] = present["metadata"]["resourceVersion"]
    return {**patch, "metadata": metadata}
