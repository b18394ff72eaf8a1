"""What is overwritten on purpose is kept: by adoption with Force, and by a direction that turns round."""

from __future__ import annotations

import base64
import json

import pytest

from tests.cluster.replication.bench import EU, HUB, Bench, Json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]


def records(bench: Bench, region: str, plural: str = "configmaps") -> list[Json]:
    found = bench.planes[region].api.get(bench.path(plural) + "?labelSelector=regent.dev/kept-for")
    return list(found["items"])


def test_a_divergent_write_on_the_old_side_is_kept_when_the_direction_turns(bench: Bench) -> None:
    """Fails when the old side keeps its own content, when what it wrote last is gone, or when it is copied around."""
    bench.config_map(HUB, "settings", {"color": "red"})
    bench.config_map(HUB, "same", {"a": "1"})
    bench.policy()
    bench.in_state("InSync")
    bench.policy(suspend=True)
    bench.in_state("Paused")
    for region, color in ((HUB, "written late"), (EU, "blue")):
        bench.planes[region].api.patch(bench.path("configmaps", "settings"), {"data": {"color": color}})
    bench.policy(source={"region": EU}, targets=[{"region": HUB}], suspend=False)
    bench.until(lambda: bench.data(HUB, "settings") == {"color": "blue"}, "the copy in the old active region")
    bench.in_state("InSync")
    kept = records(bench, HUB)
    assert len(kept) == 1, [item["metadata"]["name"] for item in kept]
    content = json.loads(kept[0]["data"]["object.json"])
    assert (content["metadata"]["name"], content["data"]) == ("settings", {"color": "written late"})
    assert kept[0]["metadata"]["annotations"]["regent.dev/kept-reason"] == "Diverged"
    assert any(kept[0]["metadata"]["name"] in text for text in bench.row(HUB)["errors"])
    # Turned once more, the record stays where it is.
    bench.policy(source={"region": HUB}, targets=[{"region": EU}], suspend=False)
    bench.in_state("InSync")
    bench.config_map(HUB, "last")
    bench.until(lambda: bench.data(EU, "last") is not None, "a copy in the first direction again")
    assert records(bench, EU) == []
    assert len(records(bench, HUB)) == 1


def test_what_adoption_overwrites_is_kept_as_what_it_was(bench: Bench) -> None:
    """Fails when Force loses what was there, or shows a Secret's content in a ConfigMap."""
    metadata = {"name": "keys", "namespace": bench.namespace}
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    bench.apply(EU, {**made, "stringData": {"key": "theirs"}})
    bench.apply(HUB, {**made, "stringData": {"key": "ours"}})
    resources = [{"category": "Config", "includeSecrets": True, "kinds": [{"kind": "Secret"}]}]
    bench.policy(adoption="Force", resources=resources)
    bench.in_state("InSync")
    copy = bench.get(EU, "secrets", "keys")
    assert copy is not None
    assert base64.b64decode(copy["data"]["key"]) == b"ours"
    assert records(bench, EU) == []
    kept = records(bench, EU, "secrets")
    assert len(kept) == 1
    content = json.loads(base64.b64decode(kept[0]["data"]["object.json"]))
    assert base64.b64decode(content["data"]["key"]) == b"theirs"
