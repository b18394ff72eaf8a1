"""Expressions in policies: one that is wrong is told before anything is copied; that one fails is one object's matter.

In real time: expressions are evaluated in a process of their own, which knows no other.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.copying import EU, US, CopyWorld


def cel(expression: str, **more: Any) -> dict[str, Any]:
    """A policy's targets with one transform that sets `data.a`."""
    transform = {**more, "cel": [{"path": "/data/a", "expression": expression}]}
    return {"targets": [{"region": US, "transforms": [{"patch": [{"op": "remove", "path": "/b"}]}, transform]}]}


def ready(world: CopyWorld) -> tuple[str, str, str]:
    found = {item["type"]: item for item in world.status.get("conditions", ())}.get("Ready", {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


async def test_an_expression_that_is_wrong_is_told_with_its_place_until_it_is_put_right() -> None:
    """Fails when anything is copied with it, or without it, or when a policy that was put right stays as it was."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy(**cel("self + sefl"))
    async with world.running():
        where = "transforms[1].cel[0].expression: line 1, column 8: undeclared reference to 'sefl' (target us)"
        # Before that it may say that the process is being started.
        await world.until(lambda: ready(world) == ("False", "TransformInvalid", where))
        assert world.data(US, "one") is None
        world.policy(**cel("self + '!'"))
        await world.until(lambda: world.data(US, "one") == {"a": "1!"})
        await world.until(lambda: ready(world)[0] == "True")
        world.policy(**cel("self + '?'"))
        await world.until(lambda: world.data(US, "one") == {"a": "1?"})


async def test_an_object_for_which_an_expression_fails_does_not_stop_the_others() -> None:
    """Fails when one object's fault is another's, when it is copied as it is, or when what it holds is told."""
    world = CopyWorld()
    world.put(EU, "bad", a="SENSITIVE")
    for name in ("one", "two"):
        world.put(EU, name, a="1")
    world.policy(**cel("string(int(self) + 1)"))
    async with world.running():
        await world.until(lambda: world.data(US, "two") == {"a": "2"} and world.data(US, "one") == {"a": "2"})
        await world.until(lambda: world.status["targets"][0]["objects"].get("failed") == 1)
        assert world.data(US, "bad") is None
        said = "ConfigMap/bad: the transform of /data/a fails: a value cannot be converted"
        await world.until(lambda: said in str(world.status))
        assert "SENSITIVE" not in str(world.status)
        world.put(EU, "bad", a="5")
        await world.until(lambda: world.data(US, "bad") == {"a": "6"})
        # The copies are equal to what the expression gives, not to the source.
        await world.until(lambda: world.status["targets"][0]["state"] == "InSync")
