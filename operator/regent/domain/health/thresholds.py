"""Thresholds that can never be reached: they look like protection and are none, so they are said aloud."""

from __future__ import annotations

from regent.domain.health.model import HealthSpec, HttpCheck, ProbeRole, ProbeSpec
from regent.domain.health.window import MINIMUM_SAMPLES, SPAN


def judged_probes(spec: HealthSpec) -> tuple[ProbeSpec, ...]:
    """Return the probes that the region's figures come from: the Required ones, or all when none is."""
    return tuple(probe for probe in spec.probes if probe.role is ProbeRole.REQUIRED) or spec.probes


def unreachable_thresholds(spec: HealthSpec) -> tuple[str, ...]:
    """Return a sentence for each threshold that no measurement can ever pass; empty when all is well."""
    probes = judged_probes(spec)
    if not probes:
        return ()
    found = []
    longest = max(probe.timeout for probe in probes)
    if spec.thresholds.degraded_latency >= longest:
        found.append(
            f"thresholds.degraded.latency ({spec.thresholds.degraded_latency:g}s) is not below any probe's timeout "
            f"({longest:g}s): a slower answer is a failure before it is slow. Raise a timeout or lower the threshold"
        )
    loaded = any(isinstance(probe.check, HttpCheck) and probe.check.error_rate_path for probe in spec.probes)
    per_window = sum(SPAN / probe.interval for probe in probes)
    if not loaded and per_window < MINIMUM_SAMPLES and spec.thresholds.degraded_error_rate_percent < 100:
        found.append(
            f"the probes give {per_window:.0f} samples in {SPAN:g}s and an error rate needs {MINIMUM_SAMPLES}: shorten "
            "an interval or set load.healthBody, else error rates are unknown"
        )
    return tuple(found)
