"""What has to be true of a finished run and of the policy after it, whatever the fault was."""

from __future__ import annotations

from typing import Any

from testbed.scene import Scene, eventually

Json = dict[str, Any]
JOURNAL = (
    "Accept",
    "Observe",
    "Recheck",
    "Decide",
    "Snapshot",
    "Approve",
    "Commit",
    "Isolate",
    "FinalSync",
    "Promote",
    "Verify",
    "Shift",
    "Stabilize",
    "Reverse",
    "Finalize",
)


def claim_run(run: Json, *, source: str, to: str, trigger: str, epoch: int) -> None:
    """The run ended well, with its whole journal in order, and says what it did and why."""
    status = run["status"]
    assert status["phase"] == "Succeeded", status
    assert run["spec"]["from"] == source
    assert status["plan"]["chosen"] == to, status["plan"]
    assert status["trigger"] == trigger
    assert status["epoch"] == epoch
    assert tuple(step["name"] for step in status["steps"]) == JOURNAL
    assert {step["state"] for step in status["steps"]} <= {"Succeeded", "Skipped"}, status["steps"]
    starts = [step["startTime"] for step in status["steps"] if "startTime" in step]
    assert starts == sorted(starts), "the journal is out of order"
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert conditions["Succeeded"] == "True"
    assert conditions["Complete"] == "True"
    assert status["pointOfNoReturn"]["kind"] == "Traffic"
    assert status["durationMilliseconds"] > 0


def claim_policy(
    scene: Scene, *, active: str, epoch: int, name: str = "", fence: int = 0, gateway_within: float = 2.0
) -> None:
    """Policy, route and gateway agree on where the traffic is.

    `fence`: the epoch in the route's fence, where the epoch was raised without a write to the route.
    `gateway_within`: seconds until the gateway follows the route; after an outage of the API server its watches need
    much longer than Regent's to come back.
    """
    status = eventually(
        lambda: released if not (released := scene.status(name)).get("operation") else None,
        what="the policy to be released",
        timeout=5,
    )
    assert status["activeRegion"] == active, status
    assert status["active"] == active
    assert status["epoch"] == epoch, status
    assert {row["region"]: row["weightPercent"] for row in status["distribution"]} == {
        region: 100 if region == active else 0 for region in scene.names
    }
    assert scene.active() == [active]
    route = scene.route()
    assert route["metadata"]["annotations"]["regent.dev/fence"].startswith(f"{fence or epoch}."), route["metadata"]
    eventually(lambda: _all_served_by(scene, active), what=f"the gateway to send to {active}", timeout=gateway_within)


def _all_served_by(scene: Scene, region: str) -> bool:
    served = {scene.gateway.fetch("/", host=scene.host) for _ in range(10)}
    assert served == {(200, region)}, served
    return True


def claim_events(scene: Scene, *reasons: str) -> None:
    """Events about the policy with these reasons are there."""

    def missing() -> bool:
        seen = {event["reason"] for event in scene.events() if event["regarding"]["kind"] == "FailoverPolicy"}
        return set(reasons) <= seen

    eventually(missing, what=f"events {reasons}", timeout=5)


def no_run(scene: Scene, *, epoch: int = 1) -> None:
    """Nothing was decided: no run, no epoch, the weights as they were."""
    assert scene.runs() == []
    assert scene.status()["epoch"] == epoch
    assert scene.active() == [scene.names[0]]
