"""What people do in a scenario: switchovers, drains, changed minds, approvals, and sometimes accepting a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from regent.engine.records import TERMINAL, status_of
from regent.engine.resources import FAILOVERS, REGIONS

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario


class People:
    """Acts at random moments, and answers what the operator asks for."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = scenario.scheduler.random
        self._asked = 0
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self._switch),
            (1, self._drain),
            (2, self._control),
            (1, self._dry_run),
        ]
        if scenario.flavour.leaders:
            self._kinds.append((6, self._two_minds))
        elif scenario.flavour.plot == "heirs":
            self._kinds = [(1, self._switch), (4, self._at_once)]

    def plan(self, begin: float, end: float) -> None:
        """Draw what people do between the two times."""
        weights = [weight for weight, _ in self._kinds]
        often = {"gradual": [1, 2, 3], "leaders": [3, 4, 5, 6], "heirs": [3, 4, 5, 6]}
        for _ in range(self._random.choice(often.get(self._scenario.flavour.name, [0, 1, 1, 2, 3]))):
            acts = self._random.choices(self._kinds, weights)[0][1]
            self._scenario.scheduler.at(self._random.uniform(begin, end), acts)
        for _ in range(3):
            self._scenario.scheduler.at(self._random.uniform(begin, end), self._answer)

    def _say(self, text: str) -> None:
        self._scenario.trace("person", text)

    def _active(self) -> str:
        status = self._scenario.status()
        names = [item["region"] for item in status.get("distribution") or () if item.get("weightPercent")]
        return str(status.get("activeRegion") or (names[0] if names else ""))

    def _make(self, **spec: Any) -> None:
        source = self._active()
        others = [name for name in self._scenario.sites.all if name != source]
        self._asked += 1
        body: dict[str, Any] = {"policyRef": {"name": "shop"}, "type": "Switchover", "from": source, **spec}
        if "to" not in body and self._random.random() < 0.6:
            body["to"] = self._random.choice(others)
        name = f"ask-{self._asked}"
        self._say(f"makes {name}: {body}")
        self._scenario.server.put(
            FAILOVERS,
            {
                "apiVersion": "regent.dev/v1alpha1", "kind": "Failover",
                "metadata": {"namespace": "shop", "name": name}, "spec": body,
            },
        )  # fmt: skip

    def _switch(self) -> None:
        self._make(type=self._random.choice(["Switchover", "Switchover", "Failover"]))

    def _two_minds(self) -> None:
        """Two people ask at nearly the same time."""
        self._switch()
        self._scenario.scheduler.after(self._random.uniform(0.0, 3.0), self._switch)

    def _at_once(self) -> None:
        """Two people ask in the same moment."""
        self._switch()
        self._switch()

    def ask_back(self, name: str) -> None:
        """A person wants a region back, whatever its health is said to be."""
        self._make(type="Switchover", to=name, control={"force": True})

    def _dry_run(self) -> None:
        self._make(dryRun=True)

    def _drain(self) -> None:
        name = self._active()
        if not name:
            return
        found = next(obj for obj in self._scenario._objects(REGIONS) if obj["metadata"]["name"] == name)
        self._say(f"drains {name}")
        self._scenario.server.put(REGIONS, {**found, "spec": {**found["spec"], "adminState": "Drained"}})

        def undo() -> None:
            self._say(f"enables {name}")
            obj = next(obj for obj in self._scenario._objects(REGIONS) if obj["metadata"]["name"] == name)
            self._scenario.server.put(REGIONS, {**obj, "spec": {**obj["spec"], "adminState": "Enabled"}})

        self._scenario.scheduler.after(self._random.uniform(3, 10), undo)

    def _control(self) -> None:
        """Pause, cancel or roll back what runs; a pause is lifted again."""
        runs = [run for run in self._scenario.runs() if status_of(run).get("phase") not in TERMINAL]
        if not runs:
            self._scenario.scheduler.after(2.0, self._control_once)
            return
        self._control_once()

    def _control_once(self) -> None:
        runs = [run for run in self._scenario.runs() if status_of(run).get("phase") not in TERMINAL]
        if not runs:
            return
        desired = self._random.choice(["Pause", "Rollback", "Cancel"])
        self._set(runs[0], desired=desired)
        if desired == "Pause":
            self._scenario.scheduler.after(self._random.uniform(1, 6), self._go_on, runs[0]["metadata"]["name"])

    def _go_on(self, name: str) -> None:
        run = next((run for run in self._scenario.runs() if run["metadata"]["name"] == name), None)
        if run is not None:
            self._set(run, desired="Run")

    def _answer(self) -> None:
        """Approve what waits for it; accept a loss where the operator cannot go on without."""
        for run in self._scenario.runs():
            status = status_of(run)
            if status.get("phase") == "AwaitingApproval":
                self._set(run, approvedPlan=status["plan"]["hash"])
            elif status.get("phase") == "Paused" and self._random.random() < 0.3:
                self._set(run, acceptDataLoss=True)

    def _set(self, run: dict[str, Any], **control: Any) -> None:
        self._say(f"sets {control} on {run['metadata']['name']}")
        spec = {**run["spec"], "control": {**(run["spec"].get("control") or {}), **control}}
        self._scenario.server.put(FAILOVERS, {**run, "spec": spec, "metadata": _bumped(run)})


def _bumped(run: dict[str, Any]) -> dict[str, Any]:
    return {**run["metadata"], "generation": int(run["metadata"].get("generation", 1)) + 1}
