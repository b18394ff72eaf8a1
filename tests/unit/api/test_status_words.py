"""The words that the domain writes into statuses are words that the custom resources accept."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from regent.api.v1alpha1 import failover, failover_status, failoverpolicy_status
from regent.domain.failover.model import LatchKind, RunType, TriggerKind


def _words(model: Any, field: str) -> set[str]:
    """The members of the Literal in a field's annotation, however it is wrapped."""
    found: set[str] = set()
    pending = [model.model_fields[field].annotation]
    while pending:
        item = pending.pop()
        arguments = get_args(item)
        found |= {word for word in arguments if isinstance(word, str)}
        pending += [argument for argument in arguments if not isinstance(argument, str)]
    return found


@pytest.mark.parametrize(
    ("kind", "model", "field"),
    [
        (TriggerKind, failover_status.FailoverStatus, "trigger"),
        (RunType, failover.FailoverSpec, "type"),
        (LatchKind, failoverpolicy_status.BlueGreenStatus, "latch_reason"),
    ],
)
def test_every_word_of_the_domain_is_one_of_the_api(kind: Any, model: Any, field: str) -> None:
    assert {member.value for member in kind} <= _words(model, field)
