"""Plays many scenarios, or one with its trace: `python -m tests.simulation [--seeds 10000] [--first 0] [--seed N]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.invariants import ViolationError
from tests.simulation.scenario import play

CHUNK = 50


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many scenarios")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this scenario, with its whole trace")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed)
    return _many(arguments.first, arguments.seeds, arguments.workers)


def _one(seed: int) -> int:
    try:
        result = play(seed, tail=100_000)
    except ViolationError as violation:
        print(violation)
        return 1
    for when, who, what in result.lines:
        print(f"{when:9.3f}  {who:10} {what}")
    print(f"seed {seed} ({result.flavour}): {dict(result.runs)} in {result.seconds:.0f} s of virtual time; all holds")
    return 0


def _chunk(first: int, count: int) -> tuple[Counter[str], float, list[str]]:
    """Play `count` scenarios: the phases of their runs, their virtual seconds, and what was violated."""
    phases: Counter[str] = Counter()
    seconds, violations = 0.0, []
    for seed in range(first, first + count):
        try:
            result = play(seed)
        except ViolationError as violation:
            violations.append(str(violation))
            continue
        phases += result.runs
        seconds += result.seconds
    return phases, seconds, violations


def _many(first: int, seeds: int, workers: int) -> int:
    began, done, bad = time.monotonic(), 0, 0
    phases: Counter[str] = Counter()
    virtual = 0.0
    print(f"seeds {first} to {first + seeds - 1} on {workers} processes")
    with ProcessPoolExecutor(workers) as pool:
        chunks = [(at, min(CHUNK, first + seeds - at)) for at in range(first, first + seeds, CHUNK)]
        for found, seconds, violations in pool.map(_chunk, *zip(*chunks, strict=True)):
            done, bad, virtual = done + CHUNK, bad + len(violations), virtual + seconds
            phases += found
            for violation in violations:
                print(f"\n{violation}\n")
            if done % (CHUNK * 20) == 0:
                print(f"{min(done, seeds)} of {seeds} seeds, {bad} violations, {time.monotonic() - began:.0f} s")
    print(
        f"{seeds} seeds, {virtual / 3600:.0f} h of virtual time in {time.monotonic() - began:.0f} s, "
        f"{bad} violations; runs: {dict(phases)}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
