"""What a hub has written down about itself: ConfigMap `regent-hub-role` of the operator's namespace.

Written by `regent hub promote` and `import`, and by the operator when it begins to follow another hub or finds itself
superseded. A hub that nobody ever told anything has none, and acts. Neighbours: `domain.hub_term`, `engine.hub_guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regent.domain.errors import AlreadyExistsError, ConflictError, NotFoundError
from regent.domain.hub_term import HubRecord, HubRole
from regent.engine.agent_objects import config_map
from regent.engine.hub_epochs import TERM_DIGITS
from regent.engine.ports import Cluster, Object
from regent.engine.resources import CONFIG_MAPS

NAME = "regent-hub-role"
MAX_CONFLICTS = 8


async def read_record(cluster: Cluster, namespace: str) -> HubRecord:
    """Return the record, an empty one where there is none; raises ClusterError when that cannot be told."""
    try:
        return _record(await cluster.get(CONFIG_MAPS, namespace, NAME))
    except NotFoundError:
        return HubRecord()


async def change_record(cluster: Cluster, namespace: str, change: Callable[[HubRecord], HubRecord]) -> HubRecord:
    """Bring the record to what `change` makes of it, compared and set; return it.

    Raises:
        ConflictError: others write it all the time.
        ClusterError: it cannot be read or written.
    """
    for _ in range(MAX_CONFLICTS):
        try:
            present: Object | None = await cluster.get(CONFIG_MAPS, namespace, NAME)
        except NotFoundError:
            present = None
        before = _record(present) if present is not None else HubRecord()
        wanted = change(before)
        if wanted == before:
            return wanted
        try:
            if present is None:
                await cluster.create(CONFIG_MAPS, config_map(namespace, NAME, _data(wanted)))
            else:
                await cluster.replace(CONFIG_MAPS, {**present, "data": _data(wanted)})
        except (ConflictError, AlreadyExistsError):
            continue
        return wanted
    raise ConflictError(f"ConfigMap {namespace}/{NAME} was changed by others {MAX_CONFLICTS} times")


def _record(obj: Object) -> HubRecord:
    data: dict[str, Any] = obj.get("data") or {}
    term = str(data.get("term") or "")
    role = str(data.get("role") or "")
    return HubRecord(
        # What nobody of us has written is taken for the role in which least is done.
        role=next((item for item in HubRole if item.value == role), HubRole.PROMOTING) if role else None,
        term=int(term) if term.isascii() and term.isdigit() and len(term) <= TERM_DIGITS else 0,
        other=str(data.get("other") or ""),
        secret=str(data.get("secret") or ""),
    )


def _data(record: HubRecord) -> dict[str, str]:
    found = {
        "role": record.role.value if record.role else "",
        "term": str(record.term) if record.term else "",
        "other": record.other,
        "secret": record.secret,
    }
    return {key: text for key, text in found.items() if text}
