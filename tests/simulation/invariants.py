"""What must hold after every event, whatever fails: judged from outside, by what the world and the API server saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regent.domain.failover.course import gaining, losing
from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.roles import Role
from regent.engine.records import TERMINAL, read_shares
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES, Resource
from regent.engine.run_undo import undoing
from tests.fakes.cluster import FakeCluster
from tests.simulation.sites import Sites, Unit

FINISHED = ("Succeeded", "Skipped")


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Watches the API server and the regions.

    Args:
        fencing: the policy's effective fencing: Required, BestEffort or None.
        cooldown: seconds of the policy's cooldown.
        proved: says whether the leader has seen a region answer.
        wall_moves: the scenario sets wall clocks, so that times in the API do not tell how long ago something was.
    """

    def __init__(
        self,
        server: FakeCluster,
        sites: Sites,
        *,
        now: Callable[[], float],
        proved: Callable[[str], bool],
        fencing: str,
        cooldown: float,
        wall_moves: bool,
    ) -> None:
        self._proved = proved
        self._weights_before: dict[str, int] = {}
        self._server = server
        self._sites = sites
        self._now = now
        self._fencing = fencing
        self._cooldown = cooldown
        self._wall_moves = wall_moves
        self._epoch = 0
        self._active = ""
        self._turns = 0
        self._operation = ""
        self._to = ""
        self._route: Fence | None = None
        self._fences: dict[tuple[str, str], Fence] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._promoted: dict[int, set[str]] = {}
        self._ended_at: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._last_end = float("-inf")
        self.accepted_loss = False
        self.acknowledged: set[int] = set()
        self.lost: set[int] = set()
        self.commits = 0

    def saw(self, event: str, resource: Resource, obj: dict[str, Any]) -> None:
        """A change at the API server."""
        if resource is FAILOVER_POLICIES:
            self._policy(obj.get("status") or {})
        elif resource is FAILOVERS and event != "DELETED":
            self._run(obj)
        elif resource is HTTP_ROUTES:
            self._weights(obj)

    def _policy(self, status: dict[str, Any]) -> None:
        epoch, active = int(status.get("epoch") or 0), str(status.get("activeRegion") or "")
        operation = str((status.get("operation") or {}).get("uid") or "")
        _claim(epoch >= self._epoch, f"the epoch went back from {self._epoch} to {epoch}")
        if operation and self._operation:
            _claim(operation == self._operation, "a second operation took the policy from the first")
        to = str((status.get("operation") or {}).get("to") or "")
        if operation and operation == self._operation and to != self._to:
            _claim(epoch > self._epoch, f"{to} is tried after {self._to} in the same epoch {epoch}")
        self._to = to
        if operation and not self._operation:
            _claim(epoch == self._epoch + 1, f"a commit raised the epoch from {self._epoch} to {epoch}")
            self._committed(operation)
        if epoch > self._epoch:
            self._turns = 0
        elif active != self._active and self._epoch:
            self._turns += 1
            _claim(self._turns <= 1, f"the active region changed twice in epoch {epoch}, at last to {active}")
            _claim(bool(self._operation), f"the active region became {active} without a run")
        self._epoch, self._active, self._operation = epoch, active, operation

    def _committed(self, uid: str) -> None:
        """Cooldown, by the world's own clock."""
        self.commits += 1
        run = self._runs.get(uid)
        if (
            run is None
            or self._wall_moves
            or (run["metadata"].get("labels") or {}).get("regent.dev/managed-by") is None
        ):
            return
        status, now = run.get("status") or {}, self._now()
        plan = status.get("plan") or {}
        slack = 0.5
        if status.get("trigger") in ("ErrorRate", "Latency", "Capacity", "Failback"):
            since = now - self._last_end
            _claim(
                since > self._cooldown - slack,
                f"{run['metadata']['name']} ({status.get('trigger')}) began {since:.1f} s after the last run",
            )
        if status.get("trigger") not in ("AdminState", "RegionRemoved"):
            for to in gaining(read_shares(plan.get("before")), read_shares(plan.get("after"))):
                since = now - self._left.get(to, float("-inf"))
                _claim(
                    since > self._cooldown - slack, f"an automatic run returned to {to} {since:.1f} s after it was left"
                )

    def _run(self, obj: dict[str, Any]) -> None:
        uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
        before = self._runs.get(uid)
        self._runs[uid] = obj
        if ((obj.get("spec") or {}).get("control") or {}).get("acceptDataLoss"):
            self.accepted_loss = True
        if before is None:
            return
        old, new = before.get("status") or {}, obj.get("status") or {}
        if old.get("phase") in TERMINAL:
            _claim(new.get("phase") == old["phase"], f"{name} was {old['phase']} and became {new.get('phase')}")
            _claim(new.get("steps") == old.get("steps"), f"the journal of {name} changed after its end")
        elif new.get("phase") in TERMINAL:
            self._end(uid, new)
        steps = {(item["attempt"], item["name"]): item for item in new.get("steps") or ()}
        for item in old.get("steps") or ():
            key = (item["attempt"], item["name"])
            _claim(key in steps, f"step {key} of {name} has vanished")
            state = steps[key]["state"]
            if item["state"] in FINISHED and key[1] not in ("Accept", "Observe", "Recheck", "Decide", "Snapshot"):
                allowed = (*FINISHED, "Undone", "Running" if key[1] == "Approve" else "Undone")
                _claim(state in allowed, f"step {key} of {name} was {item['state']} and became {state}")
            if item["state"] == "Undone":
                _claim(state == "Undone", f"step {key} of {name} was undone and became {state}")
        _claim(
            int(new.get("epoch") or 0) >= int(old.get("epoch") or 0),
            f"the epoch of {name} went back from {old.get('epoch')} to {new.get('epoch')}",
        )

    def _end(self, uid: str, status: dict[str, Any]) -> None:
        now = self._now()
        self._ended_at[uid] = now
        reasons = {item.get("reason") for item in status.get("conditions") or () if item["type"] == "Succeeded"}
        if status.get("phase") == "Superseded" and status.get("epoch") and "PolicyMovedOn" in reasons:
            _claim(self._epoch > status["epoch"], "a run was given up as overtaken, and nothing had overtaken it")
        if not status.get("epoch"):
            return
        self._last_end = now
        plan = status.get("plan") or {}
        before, after = read_shares(plan.get("before")), read_shares(plan.get("after"))
        if status.get("phase") == "Succeeded":
            for region in losing(before, after):
                self._left[region] = now
            order = plan.get("order") or ()
            attempt = max((item["attempt"] for item in status.get("steps") or ()), default=1)
            done = {
                item["name"]
                for item in status.get("steps") or ()
                if item["attempt"] == attempt and item["state"] in FINISHED
            }
            missing = [name for name in order if name not in done]
            _claim(not missing, f"a run ended as Succeeded without {', '.join(missing)}")

    def _weights(self, obj: dict[str, Any]) -> None:
        refs = [ref.get("weight", 1) for rule in obj["spec"]["rules"] for ref in rule["backendRefs"]]
        _claim(sum(refs) > 0, "the weights are all zero")
        weights = {
            ref["name"].removeprefix("shop-"): ref.get("weight", 1) for ref in obj["spec"]["rules"][0]["backendRefs"]
        }
        if self._operation and self._weights_before and not self._forced(self._operation):
            for region, weight in weights.items():
                if weight and not self._weights_before.get(region) and not self._undoing(self._operation):
                    _claim(self._proved(region), f"clients are sent to {region}, which the leader knows to be down")
        self._weights_before = weights
        fence = parse_fence((obj["metadata"].get("annotations") or {}).get("regent.dev/fence", ""))
        if self._route is not None:
            _claim(fence is not None and fence >= self._route, f"the route's fence went from {self._route} to {fence}")
        self._route = fence

    def effect(self, unit: Unit, changes: bool) -> None:
        """A unit took a request; `changes`: and does something for it."""
        key = (unit.step, unit.site.name)
        fence = unit.fence or Fence(0)
        _claim(fence >= self._fences.get(key, Fence(0)), f"{key} took {fence} after {self._fences.get(key)}")
        self._fences[key] = fence
        if not changes:
            return
        uid = unit.run.rpartition("/")[2]
        self._intended(unit, uid)
        _claim(uid not in self._ended_at, f"{key} was changed by {unit.run}, which has ended")
        if unit.wanted is Role.ACTIVE and not self._undoing(uid):
            regions = self._promoted.setdefault(fence.epoch, set())
            regions.add(unit.site.name)
            _claim(len(regions) == 1, f"in epoch {fence.epoch} more than one region was promoted: {sorted(regions)}")

    def _intended(self, unit: Unit, uid: str) -> None:
        """The journal says what is being done before it is done."""
        steps = {item["name"] for item in (self._runs.get(uid, {}).get("status") or {}).get("steps") or ()}
        wanted = f"Promote/{unit.step}" if unit.wanted is Role.ACTIVE else "Isolate"
        if unit.wanted is not None and uid in self._runs and "RollBack" not in steps:
            _claim(wanted in steps, f"{unit.step} in {unit.site.name} was changed before the journal says {wanted}")

    def _forced(self, uid: str) -> bool:
        """Whether a person has said that the target's health does not matter."""
        return bool(((self._runs.get(uid, {}).get("spec") or {}).get("control") or {}).get("force"))

    def _undoing(self, uid: str) -> bool:
        return undoing(self._runs.get(uid, {}).get("status") or {})

    def active(self, unit: Unit) -> None:
        """A unit has become active."""
        if unit.step != "db":
            return
        run = self._runs.get(unit.run.rpartition("/")[2]) or {}
        planned = bool(((run.get("status") or {}).get("plan") or {}).get("planned"))
        others = [
            site.name for site in self._sites.all.values() if site is not unit.site and _may_write(site.units["db"])
        ]
        if self._fencing != "Required":
            # What an earlier forced run left behind may still write; a planned one stops the side that it leaves.
            source = (run.get("spec") or {}).get("from")
            others = [name for name in others if planned and name == source]
        tried = {str(item.get("region")) for item in (run.get("status") or {}).get("attempts") or ()}
        # Of the candidates that failed, only what this very run has activated: where nothing is fenced, one may have
        # been left active by an earlier run, and stays what it was.
        failed = [self._sites.all[name].units["db"] for name in tried - {unit.site.name}]
        others += [other.site.name for other in failed if other.run == unit.run and _may_write(other)]
        if not self.accepted_loss:
            _claim(not others, f"db became active in {unit.site.name} while {', '.join(others)} may write")
        have = set(unit.log)
        gone = self.acknowledged - have
        if gone and planned and not self.accepted_loss and self._fencing == "Required":
            _claim(
                False, f"a planned move to {unit.site.name} lost {len(gone)} acknowledged writes: {sorted(gone)[:5]}"
            )
        self.lost |= gone
        self.acknowledged &= have

    def wrote(self, unit: Unit) -> None:
        """A client's write was acknowledged."""
        newer = [
            site.units["db"]
            for site in self._sites.all.values()
            if site is not unit.site and site.units["db"].serves and site.units["db"].promoted_by > unit.promoted_by
        ]
        if self._fencing == "Required" and not self.accepted_loss:
            _claim(not newer, f"{unit.site.name} and {newer[0].site.name if newer else ''} both acknowledge writes")
        if newer:
            self.lost.add(unit.log[-1])
        else:
            self.acknowledged.add(unit.log[-1])

    def tell_end(self, uid: str) -> float | None:
        """When a run ended, if it has."""
        return self._ended_at.get(uid)


def _may_write(unit: Unit) -> bool:
    """Whether it writes, or will when its region is back."""
    leaving = unit.role is Role.CHANGING and unit.wanted is Role.STANDBY
    return (unit.role is Role.ACTIVE or leaving) and (unit.site.agent is None or unit.site.alive)


def _claim(holds: bool, message: str) -> None:
    if not holds:
        raise ViolationError(message)
