"""Changes of users on copies: JSON patches and CEL expressions, these in a process of their own as they always are."""

from __future__ import annotations

import asyncio
import copy
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regent.adapters.replication import cel_worker, sandbox
from regent.adapters.replication.transforms import Transformations
from regent.domain.replication.model import Assignment, Transform
from tests.fakes.clock import FakeClock

SECRET = "SECRET-THAT-MUST-NOT-BE-TOLD"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "web"}},
    "spec": {
        "replicas": 3,
        "paused": False,
        "template": {
            "spec": {
                "containers": [
                    {"name": "web", "image": "registry.eu.example.com/web:1", "env": [{"name": "A", "value": SECRET}]},
                    {"name": "log", "image": "docker.io/log:2"},
                ]
            }
        },
    },
}
FIRST = "object.spec.template.spec.containers[0]"
IMAGES = "/spec/template/spec/containers/*/image"


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests take the processors too: what is waited for here is an answer, not how soon it comes."""
    monkeypatch.setattr(sandbox, "WAIT", 45.0)


@pytest.fixture(scope="module")
def transformations(clock: FakeClock) -> Iterator[Transformations]:
    made = Transformations(clock=clock)
    yield made
    made.close()


def cel(**assignments: str) -> tuple[Assignment, ...]:
    return tuple(Assignment(path=path, expression=expression) for path, expression in assignments.items())


def changed(transformations: Transformations, transform: Transform, obj: dict[str, Any] = DEPLOYMENT) -> dict[str, Any]:
    """The object after it."""
    return transformations.apply(copy.deepcopy(obj), transform)


def one(transformations: Transformations, expression: str, path: str = "/spec/replicas") -> Any:
    """What an expression makes of a field of the Deployment's spec."""
    found = changed(transformations, Transform(cel=cel(**{path: expression})))
    return found["spec"].get(path.rsplit("/", 1)[1])


def patched(transformations: Transformations, obj: dict[str, Any], *operations: dict[str, Any]) -> dict[str, Any]:
    return transformations.apply(obj, Transform(patch=operations))


def test_operations_are_done_in_order(transformations: Transformations) -> None:
    found = patched(
        transformations,
        {"data": {"a": "1", "b": "2"}},
        {"op": "replace", "path": "/data/a", "value": "3"},
        {"op": "add", "path": "/data/c", "value": "4"},
        {"op": "remove", "path": "/data/b"},
    )
    assert found == {"data": {"a": "3", "c": "4"}}


def test_a_remove_of_what_is_not_there_does_nothing(transformations: Transformations) -> None:
    removals = {"op": "remove", "path": "/data/none"}, {"op": "remove", "path": "/none/at/all"}
    assert patched(transformations, {"data": {"a": "1"}}, *removals) == {"data": {"a": "1"}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/data/none", "value": 1},
        {"op": "add", "path": "/none/at/all", "value": 1},
        {"op": "replace", "path": "/data/list/9", "value": 1},
    ],
)
def test_what_does_not_fit_is_said(transformations: Transformations, operation: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not fit") as caught:
        patched(transformations, {"data": {"a": "secret", "list": [1]}}, operation)
    assert operation["path"] in str(caught.value)
    assert "secret" not in str(caught.value)


def test_each_place_gets_the_value_of_its_expression(transformations: Transformations) -> None:
    transform = Transform(
        cel=cel(
            **{
                IMAGES: "self.replace('registry.eu.example.com/', 'registry.us.example.com/')",
                "/metadata/labels/from": f"object.metadata.namespace + '/' + {FIRST}.image",
                "/spec/template/spec/initContainers/*/image": "'never'",
                "/spec/paused": "null",
                "/spec/replicas": "self * 2",
            }
        )
    )
    found = changed(transformations, transform)
    images = [item["image"] for item in found["spec"]["template"]["spec"]["containers"]]
    assert images == ["registry.us.example.com/web:1", "docker.io/log:2"]
    # Every expression sees the object as it was.
    assert found["metadata"]["labels"]["from"] == "shop/registry.eu.example.com/web:1"
    assert found["spec"]["replicas"] == 6
    assert "paused" not in found["spec"]


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("object.metadata.labels.tier == 'web'", True),
        ("object.metadata.labels.?team.orValue('none') == 'cart'", False),
        ("has(object.spec.strategy)", False),
    ],
)
def test_a_condition_goes_with_either_form(transformations: Transformations, when: str, *, applies: bool) -> None:
    replaced = ({"op": "replace", "path": "/spec/replicas", "value": 9},)
    for transform in (
        Transform(when=when, patch=replaced),
        Transform(when=when, cel=cel(**{"/spec/replicas": "9"})),
    ):
        assert changed(transformations, transform)["spec"]["replicas"] == (9 if applies else 3)


def test_a_condition_may_be_about_the_place(transformations: Transformations) -> None:
    """Fails when a place is missed in an object that the condition keeps out, or not missed in one that it lets in."""
    rolling = cel(**{"/spec/strategy/type": "'Recreate'"})
    kept_out = Transform(when="has(object.spec.strategy)", cel=rolling)
    assert changed(transformations, kept_out) == DEPLOYMENT
    with pytest.raises(ValueError, match="there is no such place"):
        changed(transformations, Transform(when="has(object.spec.replicas)", cel=rolling))
    with pytest.raises(ValueError, match="when: a key is not there"):
        changed(transformations, Transform(when="object.spec.strategy.x", cel=rolling))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3.5", 3.5),
        ("[1, 'a', null, {'b': true}]", [1, "a", None, {"b": True}]),
        ("self == 3 ? 'three' : 'other'", "three"),
        ("object.spec.template.spec.containers.filter(c, c.name != 'web').map(c, c.name)", ["log"]),
        ("'a-b-c'.split('-').join('+')", "a+b+c"),
        ("object.spec.paused", False),
    ],
)
def test_values_come_back_as_json_has_them(transformations: Transformations, expression: str, value: Any) -> None:
    found = one(transformations, expression)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("object.spec.nothing", r"a key is not there: ask for it with has\(\)"),
        (f"object[{FIRST}.env[0].value]", "a key is not there"),
        (f"{FIRST}.env[0].value.matches('(' + {FIRST}.env[0].value)", "regular expression is not valid"),
        (f"int({FIRST}.env[0].value)", "a value cannot be converted"),
        ("object.spec.template.spec.containers[7].name", "no such element"),
        ("self + 1.5", r"these types: _\+_\(int64, double\)"),
        ("self / 0", "division by zero"),
        ("9223372036854775807 + self", "too large"),
        ("b'abc'", "a value that JSON does not have"),
        ("{1: 2}", "a value that JSON does not have"),
        ("[timestamp('2026-01-01T00:00:00Z')]", "a value that JSON does not have"),
        ("1.0 / 0.0", "a value that JSON does not have"),
        ("object.?nothing", "cannot be evaluated"),
    ],
)  # fmt: skip
def test_what_fails_is_said_without_what_is_in_the_object(
    transformations: Transformations, expression: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        one(transformations, expression)
    assert "/spec/replicas fails: " in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_condition_that_fails_is_said(transformations: Transformations) -> None:
    with pytest.raises(ValueError, match="fails: when: a key is not there"):
        changed(transformations, Transform(when="object.spec.nothing == 1", cel=cel(**{"/spec/replicas": "1"})))
    with pytest.raises(ValueError, match="fails: when: gives no bool"):
        changed(transformations, Transform(when="object.spec.replicas", cel=cel(**{"/spec/replicas": "1"})))


@pytest.mark.parametrize(
    "transform",
    [
        Transform(cel=cel(**{"/metadata/name": "'other'"})),
        Transform(cel=cel(**{"/metadata/*": "'other'"})),
        Transform(cel=cel(**{"/metadata": "{'name': 'web'}"})),
        Transform(cel=cel(**{"/kind": "'StatefulSet'"})),
        Transform(patch=({"op": "replace", "path": "/apiVersion", "value": "apps/v2"},)),
        Transform(patch=({"op": "remove", "path": "/metadata/namespace"},)),
    ],
)
def test_what_an_object_is_stays(transformations: Transformations, transform: Transform) -> None:
    """Fails when a transform can make another object of a copy, whatever the API server lets through."""
    with pytest.raises(ValueError, match="which a copy keeps"):
        changed(transformations, transform)


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        (Transform(when="has(object.spec)", cel=cel(**{"/a": "self", "/b": "object.b"})), ""),
        (Transform(patch=({"op": "remove", "path": "/a"},)), ""),
        (Transform(cel=cel(**{"/a": "1", "/b": "object."})), "cel[1].expression: line 1, column 8: Syntax error"),
        (Transform(cel=cel(**{"/a": "1 +\n its"})), "cel[0].expression: line 2, column 2: undeclared reference"),
        (Transform(cel=cel(**{"/a": "1 + 'a'"})), "cel[0].expression: line 1, column 3: found no matching overload"),
        (Transform(cel=cel(**{"/a": "(" * 400 + "1" + ")" * 400})), "cel[0].expression: it is too deeply nested"),
        (Transform(when="object.a +", cel=cel(**{"/a": "1"})), "when: line 1, column 11: Syntax error"),
        (Transform(cel=cel(**{"/a/*": "1", "/b": "2", "/a/b/c": "3"})), "cel[2].path: /a/b/c and /a/* overlap"),
        (Transform(when="'yes'", cel=cel(**{"/a": "1"})), "when: gives string, where a condition gives bool"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_an_expression_is_known_before_it_is_used(
    transformations: Transformations, transform: Transform, problem: str
) -> None:
    found = await transformations.problem(transform)
    assert found.startswith(problem) and bool(found) == bool(problem)
    # Of what is known already nobody is asked again.
    transformations.close()
    assert await transformations.problem(transform) == found
    assert transformations.pid is None


GROWN = "['" + "x" * 100 + "']" + ".map(x, x + x + x + x)" * 12
HOSTILE = {
    "a list that grows at each step": GROWN.replace("x + x + x + x", "[x, x, x, x]"),
    "a text that grows at each step": GROWN,
    "regular expressions on all of it": "object.data.map(x, object.data.filter(y, y.matches('(.*)(.*)(.*)z'))).size()",
}


@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_expression_that_takes_too_much_ends_its_process_and_nothing_else(
    clock: FakeClock, transformations: Transformations, expression: str
) -> None:
    """Fails when processor time or memory is not bounded, when the next object does not get its value, or when the same
    object is tried again at once."""
    obj = {"data": ["y" * 200] * 90, "spec": {}}
    transform = Transform(cel=cel(**{"/spec/x": expression}))
    with pytest.raises(
        ValueError, match=r"fails: it (took|needs) too much|fails: it took more than|fails: it gives more"
    ):
        changed(transformations, transform, obj)
    assert one(transformations, "self + 1") == 4
    pid = transformations.pid
    with pytest.raises(ValueError, match="is tried again in some minutes"):
        changed(transformations, transform, obj)
    assert transformations.pid == pid, "not asked again"
    assert one(transformations, "self + 2") == 5


def test_a_transform_that_ends_the_process_with_many_objects_rests(
    clock: FakeClock, transformations: Transformations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "STRIKES", 2)
    transform = Transform(cel=cel(**{"/spec/x": GROWN}))
    for number in range(2):
        with pytest.raises(ValueError, match="it took"):
            changed(transformations, transform, {"spec": {"number": number}})
    assert one(transformations, "self + 1") == 4
    pid = transformations.pid
    with pytest.raises(ValueError, match="is tried again in some minutes"):
        changed(transformations, transform, {"spec": {"number": 3}})
    assert transformations.pid == pid
    clock.advance(sandbox.REST)
    with pytest.raises(ValueError, match="it took"):
        changed(transformations, transform, {"spec": {"number": 3}})


def test_an_answer_that_is_too_long_is_refused(transformations: Transformations) -> None:
    obj = {"data": "x" * 700_000, "spec": {}}
    with pytest.raises(ValueError, match="it gives more than 1048576 bytes"):
        changed(transformations, Transform(cel=cel(**{"/spec/x": "object.data + object.data"})), obj)


def test_a_process_that_hangs_or_is_killed_is_replaced(
    transformations: Transformations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one(transformations, "self + 1") == 4
    first = transformations.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert one(transformations, "self + 1") == 4
    second = transformations.pid
    assert second not in (None, first)
    assert second is not None
    os.kill(second, signal.SIGSTOP)
    with monkeypatch.context() as impatient, pytest.raises(ValueError, match=r"no answer within 0\.2 s"):
        impatient.setattr(sandbox, "WAIT", 0.2)
        one(transformations, "self + 1")
    assert one(transformations, "self + 1") == 4
    assert transformations.pid != second


async def test_a_check_waits_for_a_process_that_starts_slowly(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, tmp_path: Path
) -> None:
    """Fails when a policy is called wrong because the machine is busy, or when objects wait as long as a check."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    start = f"open({str(gate)!r}).read(); from regent.adapters.replication import cel_worker; cel_worker.main()"
    monkeypatch.setattr(sandbox, "COMMAND", (sys.executable, "-I", "-c", start))
    monkeypatch.setattr(sandbox, "WAIT", 0.1)
    slow = Transformations(clock=clock)
    transform = Transform(cel=cel(**{"/spec/replicas": "self + 1"}))
    checked = asyncio.create_task(slow.problem(transform))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(ValueError, match="is being started"):
            slow.apply(copy.deepcopy(DEPLOYMENT), transform)
    await asyncio.to_thread(gate.write_text, "go")
    assert await checked == ""
    monkeypatch.setattr(sandbox, "WAIT", 45.0)
    assert slow.apply(copy.deepcopy(DEPLOYMENT), transform)["spec"]["replicas"] == 4
    slow.close()


def test_the_process_is_bounded_and_ends_with_the_operator(transformations: Transformations) -> None:
    """Fails when its memory is not bounded, when it inherits what the operator was told, or when it outlives it."""
    assert one(transformations, "self + 1") == 4
    pid = transformations.pid
    place = Path(f"/proc/{pid}")
    limits = (place / "limits").read_text(encoding="ascii")
    assert re.search(rf"Max address space +{cel_worker.MEMORY} +{cel_worker.MEMORY}", limits)
    assert re.search(r"Max core file size +0 +0", limits)
    assert (place / "environ").read_bytes() == b""
    # The end of its input is all that it sees of the end of the operator, however that comes.
    process = transformations._sandbox._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0


def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    for command in (("/nowhere/python",), ("/bin/false",)):
        monkeypatch.setattr(sandbox, "COMMAND", command)
        broken = Transformations(clock=clock)
        with pytest.raises(ValueError, match="cannot be started"):
            broken.apply(copy.deepcopy(DEPLOYMENT), Transform(cel=cel(**{"/spec/replicas": "1"})))
        broken.close()
