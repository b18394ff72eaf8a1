"""Following runs until they are where they are wanted, with their steps shown as they go.

The API server may be away for a while, of all times, during a failover: following bears that until its time is over.
Progress goes to standard error, so that the answer on standard output stays one document.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from regent.cli.fields import items_at, milliseconds, name_of, text_at, value_at
from regent.cli.options import Environment
from regent.cli.output import STYLES, UNLIMITED_WIDTH
from regent.cli.run_screen import took, way, why
from regent.domain.errors import NotFoundError, UnavailableError
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over
from regent.engine.resources import FAILOVERS

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
MARKS = {"Succeeded": "✓", "Skipped": "–", "Running": "…", "Failed": "✗", "Undone": "↶", "Pending": " "}
DETAILED = 3
"""Up to so many runs are shown with their steps; more of them with a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Runs as they were last seen, and what stopped the following, where something did."""

    runs: list[Object]
    late: bool = False
    """The time was over before all of them were there."""
    gone: list[str] = field(default_factory=list)
    """Runs that were deleted meanwhile."""


async def follow(
    cluster: Cluster,
    environment: Environment,
    runs: Sequence[Object],
    *,
    until: Callable[[Object], bool],
    timeout: float,
) -> Followed:
    """Look at the runs again and again until `until` holds for each that is not over.

    Args:
        cluster: the hub.
        environment: time.
        runs: as they were read or made.
        until: whether a run is where it is wanted; one that is over is not looked at any more in any case.
        timeout: seconds for all of them together.
    """
    deadline = environment.monotonic() + timeout
    seen, gone, pause = list(runs), list[str](), FIRST_PAUSE
    progress = Progress(environment)
    with progress:
        while True:
            progress.show(seen)
            waiting = [i for i, run in enumerate(seen) if not (is_over(run) or until(run) or name_of(run) in gone)]
            if not waiting or environment.monotonic() >= deadline:
                return Followed(runs=seen, late=bool(waiting), gone=gone)
            await environment.sleep(min(pause, max(0.0, deadline - environment.monotonic())))
            pause = min(LONGEST_PAUSE, pause * 1.2)
            for i in waiting:
                metadata = seen[i]["metadata"]
                try:
                    found = await cluster.get(FAILOVERS, metadata["namespace"], metadata["name"])
                except UnavailableError as error:
                    progress.note(f"{metadata['name']}: {error}; still trying")
                    continue
                except NotFoundError:
                    gone.append(metadata["name"])
                    continue
                if found["metadata"].get("uid") != metadata.get("uid"):
                    gone.append(metadata["name"])  # another object of the same name
                else:
                    if found["metadata"].get("resourceVersion") != metadata.get("resourceVersion"):
                        pause = FIRST_PAUSE  # it moves: keep up with it
                    seen[i] = found


class Progress:
    """Shows runs on standard error: a live picture on a terminal, else a line for each change."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        terminal = sys.stderr.isatty()
        width = None if terminal else UNLIMITED_WIDTH
        self._console = Console(stderr=True, width=width, markup=False, highlight=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if terminal else None
        self._context = self._live or nullcontext()
        self._said: dict[str, str] = {}
        self._note = ""

    def __enter__(self) -> Progress:
        """Begin the live picture."""
        self._context.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        """Take the picture away: the answer follows."""
        self._context.__exit__(None, None, None)

    def show(self, runs: Sequence[Object]) -> None:
        """Show how far the runs are."""
        if self._live is not None:
            self._live.update(self._picture(runs), refresh=True)
            return
        for run in runs:
            for key, line in progress_lines(run):
                self._say(key, line)

    def note(self, text: str) -> None:
        """Show a sentence that is about the following itself."""
        self._note = text
        if self._live is None:
            self._say("note", text)

    def _say(self, key: str, line: str) -> None:
        if self._said.get(key) != line:
            self._said[key] = line
            self._console.print(line)

    def _picture(self, runs: Sequence[Object]) -> RenderableType:
        parts: list[RenderableType] = []
        for run in runs:
            parts.append(_headline(run))
            if len(runs) <= DETAILED:
                parts += [_step_line(step) for step in items_at(run, ".status.steps")]
        if self._note:
            parts.append(Text(self._note, style="yellow"))
        return Group(*parts)


def progress_lines(run: Object) -> list[tuple[str, str]]:
    """Write a run as lines, each under a key: a line is said again only when it changes."""
    name = name_of(run)
    lines = [
        (
            f"{name}/{step.get('attempt')}/{step.get('name')}",
            f"{name}: {text_at(step, 'name')} {text_at(step, 'state')}"
            + (f" ({took(step)})" if step.get("completionTime") and step.get("startTime") else "")
            + (f": {text_at(step, 'message')}" if step.get("message") else ""),
        )
        for step in items_at(run, ".status.steps")
        if step.get("state") not in ("Pending", "Skipped")
    ]
    return [*lines, (name, _headline(run).plain)]


def _headline(run: Object) -> Text:
    phase = text_at(run, ".status.phase") if value_at(run, ".status.phase") else "Pending"
    line = Text(f"{name_of(run)}: {way(run)}: ").append(phase, style=STYLES.get(phase, "bold"))
    duration = value_at(run, ".status.durationMilliseconds")
    if duration is not None:
        line.append(f" in {milliseconds(duration)}")
    reason = why(run)
    return line if reason == "-" else line.append(f": {reason}")


def _step_line(step: object) -> Text:
    state = text_at(step, "state")
    line = Text(f"  {MARKS.get(state, ' ')} ", style=STYLES.get(state, ""))
    message = text_at(step, "message")
    return line.append(f"{text_at(step, 'name'):<14} {message if message != '-' else ''}", style="")
