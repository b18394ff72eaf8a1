"""Records of what is overwritten: made before, once for each version, of bounded size and number."""

from __future__ import annotations

import base64
import json

import pytest

from regent.domain.errors import InvalidError
from regent.domain.replication import marks
from regent.domain.replication.normalise import skip_reason
from regent.engine.replication.losers import KEEP, KEEP_AT_MOST, keep, record
from regent.engine.resources import CONFIG_MAPS, SECRETS
from tests.fakes.copying import FakeCopyCluster
from tests.fakes.replication import POLICY_UID, config_map, secret, stored

NOW = 1_000_000.0


async def kept(cluster: FakeCopyCluster, obj: dict[str, object], now: float = NOW) -> str:
    return await keep(cluster, obj, policy_uid=POLICY_UID, reason="Diverged", now=now)


async def test_a_record_holds_the_object_and_is_never_a_copy() -> None:
    cluster, obj = FakeCopyCluster(), stored(config_map(a="1"), managedFields=[{"manager": "x"}])
    where = await kept(cluster, obj)
    found = (await cluster.list(CONFIG_MAPS, "shop"))[0]
    assert where == f"ConfigMap {found['metadata']['name']}"
    content = json.loads(found["data"]["object.json"])
    assert (content["data"], content["metadata"]["uid"], "managedFields" in content["metadata"]) == (
        {"a": "1"}, "uid-1", False,
    )  # fmt: skip
    assert "record of what was overwritten" in skip_reason(found)
    assert marks.read_marks(found) is None, "the pruner must not take it for a copy"


async def test_a_secret_is_kept_as_a_secret() -> None:
    cluster = FakeCopyCluster()
    await kept(cluster, stored(secret(a="MQ==")))
    assert await cluster.list(CONFIG_MAPS, "shop") == []
    found = (await cluster.list(SECRETS, "shop"))[0]
    assert json.loads(base64.b64decode(found["data"]["object.json"]))["data"] == {"a": "MQ=="}


async def test_the_same_version_is_kept_once() -> None:
    cluster = FakeCopyCluster()
    first, second = await kept(cluster, stored(config_map(a="1"))), await kept(cluster, stored(config_map(a="1")))
    assert first == second
    other = await kept(cluster, stored(config_map(a="2"), version="8"))
    assert other != first
    assert len(await cluster.list(CONFIG_MAPS, "shop")) == 2


async def test_old_records_and_too_many_go() -> None:
    cluster = FakeCopyCluster()
    await kept(cluster, stored(config_map(), version="1"), now=NOW)
    await kept(cluster, stored(config_map(), version="2"), now=NOW + KEEP - 1)
    assert len(await cluster.list(CONFIG_MAPS, "shop")) == 2
    await kept(cluster, stored(config_map(), version="3"), now=NOW + KEEP)
    assert len(await cluster.list(CONFIG_MAPS, "shop")) == 2
    for number in range(KEEP_AT_MOST + 5):
        await kept(cluster, stored(config_map(), version=str(10 + number)), now=NOW + KEEP + number)
    assert len(await cluster.list(CONFIG_MAPS, "shop")) == KEEP_AT_MOST


def test_what_is_too_large_for_a_record_is_not_overwritten() -> None:
    with pytest.raises(InvalidError, match="not overwritten"):
        record(stored(config_map(a="x" * 950_000)), policy_uid=POLICY_UID, reason="", now=NOW)
