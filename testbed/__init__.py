"""Real parts on one machine for tests, the demo and benchmarks; not part of the shipped package."""
