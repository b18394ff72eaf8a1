"""The epochs in the regions' own clusters: raised, compared, never lowered; asked for when a status was lost."""

from __future__ import annotations

import pytest

from regent.domain.errors import FencedOffError, ForbiddenError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.engine.region_epochs import NAME, RegionEpochs
from regent.engine.resources import CONFIG_MAPS
from tests.fakes.members import FakeMembers

SYSTEM, EU, US = "regent-system", "eu-west-1", "us-east-1"


def policy(name: str = "shop") -> PolicySpec:
    regions = (PolicyRegion(name=EU), PolicyRegion(name=US))
    return PolicySpec(namespace="shop", name=name, uid="u", regions=regions)


@pytest.fixture
def members() -> FakeMembers:
    return FakeMembers()


@pytest.fixture
def epochs(members: FakeMembers) -> RegionEpochs:
    return RegionEpochs(members=members, namespace=SYSTEM)


async def data(members: FakeMembers, region: str) -> dict[str, str]:
    found = await members.clusters[region].get(CONFIG_MAPS, SYSTEM, NAME)
    return dict(found["data"])


async def test_it_is_made_raised_and_left_alone_when_it_stands(members: FakeMembers, epochs: RegionEpochs) -> None:
    await epochs.raise_to(EU, policy(), Fence(3, 1, 8))
    await epochs.raise_to(EU, policy("blog"), Fence(1, 1, 8))
    await epochs.raise_to(EU, policy(), Fence(3, 2, 0))
    assert await data(members, EU) == {"shop.shop": "3.2.0", "shop.blog": "1.1.8"}
    written = len(members.clusters[EU].writes)
    await epochs.raise_to(EU, policy(), Fence(3, 2, 0))
    assert len(members.clusters[EU].writes) == written
    assert await epochs.stored(EU, policy()) == Fence(3, 2, 0)
    assert await epochs.stored(US, policy()) is None


@pytest.mark.parametrize("lower", [Fence(2, 9, 99), Fence(3, 1, 99), Fence(3, 2, 7)])
async def test_a_greater_one_fences_off(members: FakeMembers, epochs: RegionEpochs, lower: Fence) -> None:
    await epochs.raise_to(EU, policy(), Fence(3, 2, 8))
    with pytest.raises(FencedOffError, match=r"3\.2\.8"):
        await epochs.raise_to(EU, policy(), lower)
    with pytest.raises(FencedOffError):
        await epochs.enter(EU, policy(), lower)
    assert await data(members, EU) == {"shop.shop": "3.2.8"}


async def test_two_leaders_at_once(members: FakeMembers, epochs: RegionEpochs) -> None:
    """The newer one writes between the older one's look and its write."""
    await epochs.raise_to(EU, policy(), Fence(3, 1, 8))
    cluster = members.clusters[EU]
    replace, raced = cluster.replace, False

    async def racing(resource: object, obj: object) -> object:
        nonlocal raced
        if not raced:
            raced = True
            await epochs.raise_to(EU, policy(), Fence(4, 2, 8))
        return await replace(resource, obj)  # type: ignore[arg-type]

    cluster.replace = racing  # type: ignore[method-assign, assignment]
    with pytest.raises(FencedOffError):
        await epochs.raise_to(EU, policy(), Fence(3, 1, 12))
    assert await data(members, EU) == {"shop.shop": "4.2.8"}


async def test_what_was_written_by_hand_is_replaced(members: FakeMembers, epochs: RegionEpochs) -> None:
    await epochs.raise_to(EU, policy(), Fence(3))
    cluster = members.clusters[EU]
    found = await cluster.get(CONFIG_MAPS, SYSTEM, NAME)
    await cluster.replace(CONFIG_MAPS, {**found, "data": {"shop.shop": "seven", "note": "mine"}})
    assert await epochs.stored(EU, policy()) is None
    await epochs.raise_to(EU, policy(), Fence(4))
    assert await data(members, EU) == {"shop.shop": "4.0.0", "note": "mine"}


async def test_a_region_that_does_not_answer_stops_nothing(members: FakeMembers, epochs: RegionEpochs) -> None:
    members.down.add(EU)
    await epochs.enter(EU, policy(), Fence(3))
    with pytest.raises(UnavailableError):
        await epochs.raise_to(EU, policy(), Fence(3))
    members.clusters[US].fail("get", ForbiddenError("no", status=403))
    await epochs.enter(US, policy(), Fence(3))


async def test_the_highest_of_all_regions(members: FakeMembers, epochs: RegionEpochs) -> None:
    assert (await epochs.highest(policy())).highest is None
    await epochs.raise_to(EU, policy(), Fence(3, 1, 8))
    await epochs.raise_to(US, policy(), Fence(7, 1, 2))
    found = await epochs.highest(policy())
    assert (found.highest, found.silent) == (Fence(7, 1, 2), {})
    members.down.add(US)
    found = await epochs.highest(policy())
    assert found.highest == Fence(3, 1, 8)
    assert set(found.silent) == {US}
