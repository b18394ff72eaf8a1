"""Who wins when somebody changes a copy: each conflict policy between real API servers, which know who set what."""

from __future__ import annotations

import time

import pytest

from tests.cluster.replication.bench import EU, HUB, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]


def change(bench: Bench, region: str, **data: str) -> None:
    """Change the ConfigMap, in a second of its own: API servers note changes by the second."""
    before = int(time.time())
    bench.until(lambda: int(time.time()) > before, "the next second")
    bench.planes[region].api.patch(bench.path("configmaps", "settings"), {"data": data})


def copied(bench: Bench, policy: str) -> None:
    bench.config_map(HUB, "settings", {"color": "red", "size": "1"})
    bench.policy(conflictPolicy=policy)
    bench.in_state("InSync")


def verified_anew(bench: Bench) -> None:
    """Wait until digests were compared once more, and found equal."""
    before = bench.row()["lastVerifiedTime"]
    bench.until(lambda: bench.row().get("lastVerifiedTime", before) > before, "another verification")
    bench.in_state("InSync")


def test_the_newest_wins(bench: Bench) -> None:
    """Fails when an older change overwrites a newer one, or when what lost is not kept."""
    copied(bench, "NewestWins")
    change(bench, EU, color="blue")
    change(bench, HUB, size="2")
    bench.until(lambda: (bench.data(EU, "settings") or {}).get("color") == "red", "the newer change of the source")
    assert bench.data(EU, "settings") == {"color": "red", "size": "2"}
    records = bench.planes[EU].api.get(bench.path("configmaps") + "?labelSelector=regent.dev/kept-for")["items"]
    assert len(records) == 1
    assert "blue" in records[0]["data"]["object.json"]
    change(bench, EU, color="green")
    bench.policy(conflictPolicy="NewestWins", batchSize=7)  # looked at anew, with nothing changed in the source
    verified_anew(bench)
    assert (bench.data(EU, "settings") or {})["color"] == "green"


def test_the_target_wins(bench: Bench) -> None:
    """Fails when a change in the target is lost, or holds up other objects."""
    copied(bench, "TargetWins")
    change(bench, EU, color="blue")
    change(bench, HUB, size="2")
    bench.config_map(HUB, "after")
    bench.until(lambda: bench.data(EU, "after") is not None, "a later object")
    bench.policy(conflictPolicy="TargetWins", batchSize=7)
    verified_anew(bench)
    assert (bench.data(EU, "settings") or {})["color"] == "blue"


def test_a_person_decides(bench: Bench) -> None:
    """Fails when Manual overwrites anything, does not say so, or stays in conflict when it is settled."""
    copied(bench, "Manual")
    change(bench, EU, color="blue")
    bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 1, "the conflict")
    change(bench, HUB, color="green")
    bench.until(lambda: "settings" in " ".join(bench.row().get("errors") or ()), "what is in conflict")
    assert (bench.data(EU, "settings") or {})["color"] == "blue"
    change(bench, EU, color="green")
    bench.in_state("InSync")


def test_what_belongs_to_others_and_what_was_the_last(bench: Bench) -> None:
    """Fails when a copy of another policy, an object of another tool or one that is going is written to; or when copies
    go although the source has become empty, or pruning is off."""
    for name in ("shared", "tool", "going", "plain"):
        bench.config_map(HUB, name, {"a": "1"})
    bench.config_map(EU, "tool", {"a": "theirs"}, labels={"applyset.kubernetes.io/part-of": "applyset-theirs-v1"})
    bench.config_map(EU, "going", {"a": "old"}, finalizers=["example.com/wait"])
    bench.delete(EU, "configmaps", "going")
    only = [{"category": "Config", "kinds": [{"kind": "ConfigMap"}], "names": ["shared"]}]
    bench.policy("first", resources=only)
    bench.in_state("InSync", "first")
    before = bench.get(EU, "configmaps", "shared")
    bench.policy(adoption="Force")
    bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 2, "both conflicts")
    errors = "\n".join(bench.row()["errors"])
    assert "ConfigMap/shared: it is a copy of ReplicationPolicy" in errors
    assert "ConfigMap/tool: it is part of another tool's ApplySet" in errors
    assert "ConfigMap/going: the object in the target is being deleted" in errors
    assert bench.data(EU, "plain") == {"a": "1"}
    assert (bench.get(EU, "configmaps", "shared"), bench.data(EU, "tool")) == (before, {"a": "theirs"})
    bench.planes[EU].api.patch(bench.path("configmaps", "going"), {"metadata": {"finalizers": None}})
    bench.until(lambda: bench.data(EU, "going") == {"a": "1"}, "the copy, once its predecessor is gone")

    for name in ("shared", "tool", "going", "plain"):
        bench.delete(HUB, "configmaps", name)
    bench.until(lambda: "SourceEmpty" in bench.condition("PruneBlocked").get("message", ""), "the brake")
    bench.policy(adoption="Force", prune={"mode": "Disabled"})
    bench.config_map(HUB, "last")
    bench.until(lambda: bench.data(EU, "last") is not None, "an object in the source again")
    bench.until(lambda: bench.condition("PruneBlocked").get("status") == "False", "nothing to be held back")
    assert bench.data(EU, "plain") is not None and bench.data(EU, "going") is not None
    bench.policy(adoption="Force")
    bench.until(lambda: bench.data(EU, "plain") is None and bench.data(EU, "going") is None, "the deletions")
    assert bench.data(EU, "tool") == {"a": "theirs"}
