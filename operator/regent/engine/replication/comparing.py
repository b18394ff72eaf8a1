"""Strategy Local: nothing is written to any region. Both sides have objects of their own, put there by somebody else
(such as the same repository), and are only compared.

What is selected on either side has to be there on both and say the same, whether it sleeps or runs. What leaves this
process are counts, names and whether digests are equal.
"""

from __future__ import annotations

from collections.abc import Iterable

from regent.domain.replication.content import content_hash
from regent.domain.replication.namespaces import move
from regent.domain.replication.normalise import normalise, skip_reason, steered
from regent.domain.replication.shape import relabel
from regent.domain.replication.sleep import essence
from regent.engine.ports import Object
from regent.engine.replication.looking import TOO_MUCH, ItemKey, Look, Looker, Outcome, Tracked, selects, version_of
from regent.engine.resources import Resource


class Comparer(Looker):
    """One link's view of its objects, with nothing to be done about any."""

    def keys(self, resource: Resource) -> set[ItemKey]:
        """All names of a kind on either side."""
        return super().keys(resource) | {ItemKey(resource, name) for name in self.there(resource)}

    def look(self, key: ItemKey) -> Look | None:
        """Compare an object of both sides; always None, since nothing is to be done."""
        tracked = self.tracked(key)
        if self.unchanged(tracked, key):
            return None
        source, target = self.source(key), self.target(key)
        sides = [obj if obj is not None and selects(tracked, obj) else None for obj in (source, target)]
        too_much = next((reason for obj in sides if obj and (reason := skip_reason(obj)).endswith(TOO_MUCH)), "")
        here, there = (None if obj is None or skip_reason(obj) else obj for obj in sides)
        if too_much:
            self.note(key, Outcome.FAILED, too_much)
        elif here is None and there is None:
            self.note(key, Outcome.UNWANTED)
        elif here is None or there is None:
            missing = self._way.target.region if there is None else self._way.source_region
            self.note(key, Outcome.CONFLICTED, f"is not in {missing}, where it should be as well")
        else:
            self._compare(key, tracked, here, there)
        return None

    def digests(self, keys: Iterable[ItemKey]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the hashes of both sides by name, from what is known."""
        here, there = {}, {}
        for key in keys:
            if self.outcome(key) not in (None, Outcome.UNWANTED, Outcome.FAILED):
                (left, right), (source, target) = self.hashes(key), self.versions(key)
                here.update({key.name: left} if source is not None else {})
                there.update({key.name: right} if target is not None else {})
        return here, there

    def _compare(self, key: ItemKey, tracked: Tracked, here: Object, there: Object) -> None:
        drop = steered(here) or steered(there)
        left = self._hash(here, tracked, drop_weights=drop)
        right = self._hash(there, tracked, drop_weights=drop)
        self.remember(key, version_of(here), left, version_of(there), right)
        if left == right:
            self.note(key, Outcome.IN_SYNC)
        else:
            self.note(key, Outcome.CONFLICTED, f"says something else in {self._way.target.region}")

    def _hash(self, obj: Object, tracked: Tracked, *, drop_weights: bool) -> str:
        """Of what the object says, as if it were in the source."""
        body = normalise(obj, include_status=tracked.include_status, drop_weights=drop_weights)
        move(body, self._namespace, self._spec.namespace)
        relabel(body, self._way.target.region, self._way.source_region)
        return content_hash(essence(body))
