"""Changes that copies get on the way, as a policy writes them: JSON patches (RFC 6902)."""

from __future__ import annotations

from typing import Any, cast

import jsonpatch

from regent.domain.replication.model import Transform
from regent.engine.ports import Object


class JsonPatches:
    """Implements `regent.engine.replication.ports.Transforms`."""

    def apply(self, obj: Object, transform: Transform) -> Object:
        """Apply the operations one by one, so that a remove of what is not there can be passed over; see the port."""
        changed: Any = obj
        for operation in transform.patch:
            try:
                changed = jsonpatch.apply_patch(changed, [dict(operation)], in_place=True)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                if operation.get("op") != "remove":
                    # Without the library's words: they quote the object, which may be a Secret.
                    what = f"{operation.get('op')} of {operation.get('path')}"[:300]
                    raise ValueError(f"the transform does not fit: {what}") from error
        return cast(Object, changed)
