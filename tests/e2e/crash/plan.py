"""How much is played, and what came out of it: seed, lease, and a report for each kind of run."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crash.flavours import Flavour
from tests.e2e.crash.theatre import Played

WANTED = os.environ.get("REGENT_CRASH", "")
"""all, or how many boundaries of each kind of run; nothing: the sample that `make test` plays."""
ONLY = os.environ.get("REGENT_CRASH_ONLY", "")
"""With all of them: only the boundaries that this regular expression finds."""
WHOLE = bool(WANTED)
SEED = os.environ.get("REGENT_SEED", "1")
LEASE = int(os.environ.get("REGENT_CRASH_LEASE", "5"))
"""Seconds; the default is the product's. With a shorter one, a busy machine loses leases by itself."""
REPORTS = Path(__file__).parents[3] / ".cache" / "crash"


def by_chance(boundary: str) -> bool:
    """Whether a run comes to this boundary only where something was not there yet when it looked."""
    return "seen Waiting" in boundary or "journal Accept" in boundary


def sample(boundaries: Sequence[str], name: str, *, count: int) -> Sequence[str]:
    """The boundaries to play: `count` in `make test`, else as many as are wanted."""
    if WANTED == "all":
        return [boundary for boundary in boundaries if re.search(ONLY, boundary)]
    sure = [boundary for boundary in boundaries if not by_chance(boundary)]
    chosen = random.Random(f"{SEED} {name}").sample(range(len(sure)), min(int(WANTED or count), len(sure)))
    return [sure[place] for place in sorted(chosen)]


def needs_members(items: Sequence[pytest.Item]) -> bool:
    """Whether any of these tests plays a kind of run with member clusters."""
    specs = [getattr(item, "callspec", None) for item in items]
    flavours = [spec.params.get("flavour") for spec in specs if spec is not None]
    return any(isinstance(flavour, Flavour) and flavour.members for flavour in flavours)


def settings() -> dict[str, str]:
    """The operator's settings by dotted key."""
    return {"leaderElection.leaseDuration": f"{LEASE}s", "leaderElection.renewInterval": f"{LEASE * 200}ms"}


@dataclass
class Report:
    """What became of each boundary; a failure is kept until all have been played."""

    name: str
    undisturbed: float
    boundaries: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, boundary: str, play: Callable[[], Played]) -> None:
        """Play one, and note how it went."""
        row: dict[str, Any] = {"boundary": boundary}
        try:
            played = play()
        except Exception as error:  # whatever it was, the other boundaries are still of interest
            row["failure"] = f"{type(error).__name__}: {error}"
            self.failures.append(f"{boundary}: {row['failure']}")
        else:
            row |= {"hit": played.hit, "seconds": round(played.seconds, 2)}
            row["more"] = round(played.seconds - self.undisturbed, 2)
        self.rows.append(row)
        self._write()

    def close(self) -> None:
        """Raise AssertionError where anything failed."""
        assert not self.failures, f"{len(self.failures)} of {len(self.rows)} (seed {SEED}):\n" + "\n".join(
            self.failures
        )

    def _write(self) -> None:
        REPORTS.mkdir(parents=True, exist_ok=True)
        text = {"seed": SEED, "lease": LEASE, **vars(self)}
        (REPORTS / f"{self.name}.json").write_text(json.dumps(text, indent=1), encoding="utf-8")
