"""Secrets of promotion steps: decoded, remembered for a moment, and never shown."""

from __future__ import annotations

import base64

import pytest

from regent.domain.errors import ForbiddenError, PromotionProblemError, UnavailableError
from regent.engine.policy_secrets import FRESH_FOR, PolicySecrets
from regent.engine.resources import SECRETS
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster


def put(cluster: FakeCluster, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    cluster.put(SECRETS, {"metadata": {"namespace": "shop", "name": "patroni"}, "data": encoded})


async def test_entries_are_decoded_and_read_again_when_they_are_old() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    secrets = PolicySecrets(cluster=cluster, clock=clock)
    put(cluster, username="regent", password="one")
    assert await secrets.data("shop", "patroni") == {"username": b"regent", "password": b"one"}
    put(cluster, username="regent", password="two")
    assert (await secrets.data("shop", "patroni"))["password"] == b"one"
    clock.advance(FRESH_FOR)
    assert (await secrets.data("shop", "patroni"))["password"] == b"two"


async def test_what_cannot_be_read_says_what_to_do() -> None:
    cluster = FakeCluster()
    secrets = PolicySecrets(cluster=cluster, clock=FakeClock())
    with pytest.raises(PromotionProblemError, match="create it") as missing:
        await secrets.data("shop", "patroni")
    assert missing.value.reason == "SecretNotFound"
    cluster.put(SECRETS, {"metadata": {"namespace": "shop", "name": "patroni"}, "data": {"password": "sEcReT!"}})
    with pytest.raises(PromotionProblemError, match="not base64") as invalid:
        await secrets.data("shop", "patroni")
    assert "sEcReT" not in str(invalid.value)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ForbiddenError("no"), PromotionProblemError), (UnavailableError("later"), UnavailableError)],
)
async def test_refusals_and_outages_are_told_apart(error: Exception, raised: type[Exception]) -> None:
    class Refusing(FakeCluster):
        async def get(self, *_: object) -> dict[str, object]:  # type: ignore[override]
            raise error

    with pytest.raises(raised):
        await PolicySecrets(cluster=Refusing(), clock=FakeClock()).data("shop", "patroni")
