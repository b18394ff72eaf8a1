"""Plays many scenarios, or one with its trace, or hunts the planted faults.

`python -m tests.simulation [--seeds 10000] [--first 0] [--seed N] [--only KIND] [--mutants]`
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.invariants import ViolationError
from tests.simulation.mutants import MUTANTS, hunt
from tests.simulation.scenario import play

CHUNK = 50


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many scenarios")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this scenario, with its whole trace")
    parser.add_argument("--only", default="", help="only policies of this kind")
    parser.add_argument("--mutants", action="store_true", help="plant faults, and see that each is found")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.only)
    if arguments.mutants:
        return _hunt(arguments.workers)
    return _many(arguments.first, arguments.seeds, arguments.workers, arguments.only)


def _one(seed: int, only: str) -> int:
    try:
        result = play(seed, only=only, tail=100_000)
    except ViolationError as violation:
        print(violation)
        return 1
    for when, who, what in result.lines:
        print(f"{when:9.3f}  {who:10} {what}")
    print(f"seed {seed} ({result.flavour}): {dict(result.runs)} in {result.seconds:.0f} s of virtual time; all holds")
    return 0


def _chunk(first: int, count: int, only: str) -> tuple[Counter[str], float, list[str]]:
    """Play `count` scenarios: the phases of their runs, their virtual seconds, and what was violated."""
    phases: Counter[str] = Counter()
    seconds, violations = 0.0, []
    for seed in range(first, first + count):
        try:
            result = play(seed, only=only)
        except ViolationError as violation:
            violations.append(str(violation))
            continue
        phases += result.runs
        seconds += result.seconds
    return phases, seconds, violations


def _many(first: int, seeds: int, workers: int, only: str) -> int:
    began, done, bad = time.monotonic(), 0, 0
    phases: Counter[str] = Counter()
    virtual = 0.0
    print(f"seeds {first} to {first + seeds - 1} on {workers} processes")
    with ProcessPoolExecutor(workers) as pool:
        chunks = [(at, min(CHUNK, first + seeds - at), only) for at in range(first, first + seeds, CHUNK)]
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


def _hunt(workers: int) -> int:
    """Plant each fault in turn, and print what gave it away."""
    began, survived = time.monotonic(), 0
    with ProcessPoolExecutor(workers) as pool:
        for mutant, found in zip(MUTANTS, pool.map(hunt, MUTANTS), strict=True):
            if found is None:
                survived += 1
                print(f"SURVIVED {mutant.name}: {mutant.seeds} scenarios of kind {mutant.only or 'any'}")
            else:
                print(f"found    {mutant.name}: {found.played} scenarios; {found.violation}")
    print(f"{len(MUTANTS)} planted faults, {survived} survived, {time.monotonic() - began:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
