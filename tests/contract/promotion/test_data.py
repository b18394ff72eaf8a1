"""CloudNativePG, VolumeReplication and VirtualMachine steps on API servers that serve the real definitions.

Every object here passes their schemas and rules, and what the drivers write does too. The controllers cannot run
without nodes: what they would report is written by the test, after their source (CloudNativePG 1.29, KubeVirt 1.7).
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from regent.adapters.clock import SystemClock
from regent.domain.errors import FencedOffError, PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.domain.times import rfc3339
from tests.contract.promotion.regions import EU, US, Bench, Json

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("members"), pytest.mark.timeout(120)]
RUN = "shop/shop-1/uid-1"
TOKEN = base64.b64encode(
    json.dumps(
        {
            "latestCheckpointTimelineID": "1",
            "redoWalFile": "000000010000000000000006",
            "databaseSystemIdentifier": "7389241838543138835",
            "latestCheckpointREDOLocation": "0/6000028",
            "timeOfLatestCheckpoint": "Wed Jul 10 08:39:59 2024",
            "operatorVersion": "1.29.0",
        }
    ).encode()
).decode()


def fence(sequence: int) -> Fence:
    return Fence(7, 1, sequence)


def database(region: str) -> Json:
    """The documented distributed topology of two, `eu` its primary, under one name in both clusters."""
    source = "db-us" if region == EU else "db-eu"
    external = [{"name": f"db-{name}", "connectionParameters": {"host": f"db-{name}-rw"}} for name in (EU, US)]
    replica = {"self": f"db-{region}", "primary": "db-eu", "source": source}
    spec: Json = {"instances": 2, "storage": {"size": "1Gi"}, "replica": replica, "externalClusters": external}
    if region == US:
        spec["bootstrap"] = {"pg_basebackup": {"source": "db-eu"}}
    return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "db"}, "spec": spec}


async def report(bench: Bench, region: str, *, primary: bool, **status: Any) -> None:
    """What CloudNativePG's operator writes about a Cluster whose first instance is a primary, or is not."""
    instances = {"db-1": {"isPrimary": primary, "timeLineID": 1}, "db-2": {"isPrimary": False, "timeLineID": 1}}
    ready = {"type": "Ready", "status": "True", "reason": "ClusterIsReady", "message": "Cluster is Ready"}
    ready["lastTransitionTime"] = rfc3339(SystemClock().wall())
    common = {"phase": "Cluster in healthy state", "currentPrimary": "db-1", "targetPrimary": "db-1"}
    reported = {**common, "instancesReportedState": instances, "conditions": [ready], **status}
    await bench.set_status(region, "postgresql.cnpg.io/v1/clusters/db", **reported)


async def test_a_database_is_switched_over_with_its_token_and_back(bench: Bench) -> None:
    driver = bench.driver(StepKind.CLOUD_NATIVE_PG, name="db")
    for region in (EU, US):
        await bench.apply(region, database(region))
        await report(bench, region, primary=region == EU)
    before = {region: (await driver.observe(region)).snapshot for region in (EU, US)}
    await bench.role(driver, EU, Role.ACTIVE)
    await bench.role(driver, US, Role.STANDBY)
    await driver.demote(EU, successor=US, fence=fence(1), run=RUN)
    await bench.role(driver, EU, Role.CHANGING)
    assert not (await driver.sync(EU, US)).done
    await report(bench, EU, primary=False, demotionToken=TOKEN)
    state = await bench.role(driver, EU, Role.STANDBY)
    assert (state.position, state.history, state.fence) == (0x6000028, "1", fence(1))
    assert (await driver.sync(EU, US)).done
    await driver.promote(US, source=EU, fence=fence(2), run=RUN)
    replica = (await bench.get(US, "postgresql.cnpg.io/v1/clusters/db"))["spec"]["replica"]
    assert replica == {"self": "db-us", "primary": "db-us", "source": "db-eu", "promotionToken": TOKEN}
    await report(bench, US, primary=False, phase="Promoting to primary cluster")
    assert "replaying up to its promotion token" in (await bench.role(driver, US, Role.CHANGING)).message
    await report(bench, US, primary=True, lastPromotionToken=TOKEN)
    await bench.role(driver, US, Role.ACTIVE)
    with pytest.raises(FencedOffError):
        await driver.demote(US, successor=EU, fence=fence(1), run=RUN)
    await driver.restore(US, before[US], fence=fence(3), run=RUN)
    await driver.restore(EU, before[EU], fence=fence(4), run=RUN)
    for region in (EU, US):
        assert (await driver.observe(region)).snapshot == before[region]
    assert (await bench.get(EU, "postgresql.cnpg.io/v1/clusters/db"))["spec"]["replica"]["promotionToken"] == TOKEN


async def test_a_database_whose_old_side_is_gone_is_promoted_without_a_token(bench: Bench) -> None:
    driver = bench.driver(StepKind.CLOUD_NATIVE_PG, name="db")
    await bench.apply(US, database(US))
    await report(bench, US, primary=False)
    await driver.promote(US, source=EU, fence=fence(1), run=RUN)
    replica = (await bench.get(US, "postgresql.cnpg.io/v1/clusters/db"))["spec"]["replica"]
    assert (replica["primary"], replica.get("promotionToken")) == ("db-us", None)
    await bench.role(driver, US, Role.CHANGING)
    await report(bench, US, primary=True)
    await bench.role(driver, US, Role.ACTIVE)


async def test_a_kind_that_is_not_served_is_absent(bench: Bench) -> None:
    driver = bench.driver(
        StepKind.PATCH, apiVersion="none.example.com/v1", kind="None", name="x", promote={}, demote={}
    )
    assert (await bench.driver(StepKind.CLOUD_NATIVE_PG, name="none").observe(EU)).role is Role.ABSENT
    with pytest.raises(PromotionProblemError, match="impersonate"):
        await driver.observe(EU)


def machine(**spec: Any) -> Json:
    domain = {"devices": {}, "resources": {"requests": {"memory": "64Mi"}}}
    template = {"metadata": {"labels": {"vm": "erp"}}, "spec": {"domain": domain}}
    body = {"template": template, **spec}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "erp"}, "spec": body}


@pytest.mark.parametrize("running", [{"runStrategy": "RerunOnFailure"}, {"running": True}], ids=["strategy", "legacy"])
async def test_a_machine_is_halted_and_runs_again_as_it_did(bench: Bench, running: Json) -> None:
    path, driver = "kubevirt.io/v1/virtualmachines/erp", bench.driver(StepKind.VIRTUAL_MACHINE, name="erp")
    await bench.apply(EU, machine(**running))
    instance = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "erp"}}
    await bench.apply(EU, {**instance, "spec": {"domain": {"devices": {}}}})
    await bench.set_status(EU, path, printableStatus="Running", ready=True, created=True)
    snapshot = (await bench.role(driver, EU, Role.ACTIVE)).snapshot
    await driver.demote(EU, successor=US, fence=fence(1), run=RUN)
    await bench.set_status(EU, path, printableStatus="Stopping", ready=False, created=True)
    assert "instance is still there" in (await bench.role(driver, EU, Role.CHANGING)).message
    bench.api(EU).delete(bench.path("kubevirt.io/v1/virtualmachineinstances/erp"))
    await bench.set_status(EU, path, printableStatus="Stopped", ready=None, created=None)
    assert (await bench.role(driver, EU, Role.STANDBY)).fence == fence(1)
    await driver.promote(EU, source=US, fence=fence(2), run=RUN)
    spec = (await bench.get(EU, path))["spec"]
    assert {name: spec[name] for name in ("running", "runStrategy") if name in spec} == running
    await bench.set_status(EU, path, printableStatus="Running", ready=True, created=True)
    assert (await bench.role(driver, EU, Role.ACTIVE)).snapshot == snapshot
    await driver.restore(EU, snapshot, fence=fence(3), run=RUN)
    with pytest.raises(FencedOffError):
        await driver.demote(EU, successor=US, fence=fence(2), run=RUN)
