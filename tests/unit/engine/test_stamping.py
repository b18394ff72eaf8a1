"""What the webhook writes into a Failover: true names, whatever the client claims."""

from __future__ import annotations

from typing import Any

import pytest

from regent.engine.requesters import APPROVED_BY, REQUESTED_BY
from regent.engine.stamping import stamps

BY, APPROVED = "/metadata/annotations/regent.dev~1requested-by", "/metadata/annotations/regent.dev~1approved-by"


def run(control: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    names = {"by": REQUESTED_BY, "approved": APPROVED_BY}
    metadata = {"name": "go", "annotations": {names.get(key, key): value for key, value in annotations.items()}}
    return {"metadata": metadata, "spec": {"control": control or {"approvedPlan": ""}}}


def ask(new: dict[str, Any], old: dict[str, Any] | None = None, *, user: str = "ann") -> dict[str, str | None]:
    """The paths that the patch touches, with what it writes there."""
    operation = "CREATE" if old is None else "UPDATE"
    found = stamps({"operation": operation, "userInfo": {"username": user}, "object": new, "oldObject": old})
    return {item["path"]: item.get("value") for item in found}


@pytest.mark.parametrize("claimed", [{}, {"by": "bob"}, {"by": "bob", "approved": "bob"}, {"other": "x"}])
def test_a_new_run_gets_the_name_of_its_maker(claimed: dict[str, str]) -> None:
    found = ask(run(**claimed))
    assert found[BY] == "ann"
    assert found.get(APPROVED, "absent") == (None if "approved" in claimed else "absent")
    assert ("/metadata/annotations" in found) is (not claimed)


def test_a_true_claim_is_left_alone() -> None:
    assert ask(run(by="ann")) == {}


@pytest.mark.parametrize(
    "control", [{"approvedPlan": "sha256:1"}, {"acceptDataLoss": True}, {"force": True, "acceptDataLoss": False}]
)
def test_who_permits_something_is_named(control: dict[str, Any]) -> None:
    assert ask(run(control, by="ann"), run(by="ann"), user="bob") == {APPROVED: "bob"}
    assert ask(run(control), user="bob")[APPROVED] == "bob"
    # Whoever takes it back is named as well: it is his word that counts now.
    assert ask(run(by="ann", approved="bob"), run(control, by="ann", approved="bob")) == {APPROVED: "ann"}


@pytest.mark.parametrize("forged", [{"by": "bob"}, {}, {"by": "bob", "approved": "bob"}])
def test_an_update_changes_no_name(forged: dict[str, str]) -> None:
    found = ask(run({"desired": "Pause"}, **forged), run(by="ann"), user="bob")
    assert found.pop("/metadata/annotations", {}) == {}
    assert found == {BY: "ann", **({APPROVED: None} if "approved" in forged else {})}


@pytest.mark.parametrize("question", [{}, {"object": run(), "operation": "CREATE"}, {"userInfo": {"username": "a"}}])
def test_without_a_user_or_an_object_there_is_nothing_to_write(question: dict[str, Any]) -> None:
    assert stamps(question) == []
