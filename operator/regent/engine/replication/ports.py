"""What the replicator needs of the world, on top of `engine.ports`: an API server that takes server-side applies, the
reflections of its objects, and the changes that copies get on the way."""

from __future__ import annotations

from typing import Protocol

from regent.domain.replication.model import Transform
from regent.engine.ports import Cluster, Object
from regent.engine.replication.reflection import Reflection
from regent.engine.resources import Resource


class CopyCluster(Cluster, Protocol):
    """An API server that copies are read from and written to. Raises the errors of `regent.domain.errors` only."""

    async def apply(self, resource: Resource, obj: Object, *, force: bool, status: bool = False) -> Object:
        """Server-side apply as FIELD_MANAGER. `metadata.uid` in it makes it fail on any other object of the name.

        Args:
            force: take fields over that others manage; else ConflictError names them.
            status: apply to the status subresource.
        """
        ...

    async def take_over(
        self, resource: Resource, namespace: str, name: str, *, uid: str, version: str = "", whole: bool = False
    ) -> Object:
        """Make the fields of an object that `create` made fields of `apply`, which then takes back what it no longer
        sets; return the object. ConflictError when it is another object or has changed meanwhile.

        Args:
            version: the resourceVersion that it has to have; "" for any.
            whole: the content that others have set too.
        """
        ...

    async def remove(self, resource: Resource, namespace: str, name: str, *, uid: str, version: str) -> None:
        """Delete exactly this version of exactly this object; NotFoundError when it is gone, ConflictError when it
        has changed or is another one."""
        ...


class Access(Protocol):
    """The API servers of the regions, over connections that nothing but replication uses."""

    async def cluster(self, region: str) -> CopyCluster:
        """Return the API server where the objects of `region` are, its identity proved.

        Raises:
            UnavailableError: not reachable now, or its identity is not proved.
            PromotionProblemError: the Region or its Secret is wrong; says what to do.
        """
        ...

    def shared(self, first: str, second: str) -> bool:
        """Say whether both regions are in one cluster, as far as their Regions tell."""
        ...


class Reflectors(Protocol):
    """Reflections of regions' objects, each kept up to date by one watch, however many use it."""

    def acquire(self, region: str, resource: Resource, namespace: str, *, selector: str = "") -> Reflection:
        """Return the reflection of a kind in a namespace of a region; the caller owes a `release`.

        Args:
            selector: only objects with these labels, as the text of a query; "": all. Whoever asks for other labels
                has another reflection.
        """
        ...

    def release(self, reflection: Reflection) -> None:
        """Say that one user of the reflection is gone; the watch ends with its last."""
        ...

    def refresh(self, reflection: Reflection) -> None:
        """Have it listed anew: `Reflection.listed` rises when that is done."""
        ...


class Transforms(Protocol):
    """Carries out what a policy says about changes on the way."""

    def apply(self, obj: Object, transform: Transform) -> Object:
        """Change an object of one's own, and return it: by JSON patch (RFC 6902), where a remove of what is not there
        does nothing, or by the values that CEL expressions give.

        Raises:
            ValueError: the transform does not fit the object; the message is for people, and quotes nothing of it.
        """
        ...

    async def problem(self, transform: Transform) -> str:
        """Return what is wrong with the transform itself, beginning with the field; "" when nothing is."""
        ...
