"""Prometheus behind `ports.Metrics`, and the reference page made from the same declarations.

Every metric is declared in `engine/metric_names.py`. One that is not is a programming error, which a test finds; should
it happen all the same it is logged once, because no failover may stop for a metric. Rendering takes its time with a
thousand regions, so it is done in a thread (`render`), off the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from regent import __version__
from regent.engine.metric_names import METRICS, Metric, MetricType

log = logging.getLogger("regent.metrics")

_KINDS = {MetricType.COUNTER: Counter, MetricType.GAUGE: Gauge, MetricType.HISTOGRAM: Histogram}


class PrometheusMetrics:
    """Implements `regent.engine.ports.Metrics`.

    Args:
        declared: the metrics that exist; tests may give their own.
    """

    def __init__(self, declared: Iterable[Metric] = METRICS) -> None:
        # Twice the series for a time that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._complained: set[str] = set()
        for metric in declared:
            extra = {"buckets": metric.buckets} if metric.type is MetricType.HISTOGRAM else {}
            self._metrics[metric.name] = _KINDS[metric.type](
                metric.name, metric.help, metric.labels, registry=self.registry, **extra
            )
            self._labels[metric.name] = metric.labels
        if "regent_build_info" in self._metrics:
            self.gauge("regent_build_info", 1, version=__version__)

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        series = self._series(name, labels)
        if isinstance(series, Counter):
            series.inc(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        series = self._series(name, labels)
        if isinstance(series, Gauge):
            series.set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        series = self._series(name, labels)
        if isinstance(series, Histogram):
            series.observe(value)

    def forget(self, **labels: str) -> None:
        """Drop every series that carries all these labels: the object they were about is gone."""
        for name, metric in self._metrics.items():
            if labels and set(labels) <= set(self._labels[name]):
                metric.remove_by_labels(dict(labels))

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition in the format that `accept` asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return await asyncio.to_thread(encode, self.registry), content_type

    def _series(self, name: str, labels: dict[str, str]) -> Counter | Gauge | Histogram | None:
        metric = self._metrics.get(name)
        if metric is None or set(labels) != set(self._labels[name]):
            if name not in self._complained:
                self._complained.add(name)
                log.error("Metric or its labels are not declared", extra={"metric": name, "labels": sorted(labels)})
            return None
        return metric.labels(**labels) if labels else metric


def reference_markdown(declared: Iterable[Metric] = METRICS) -> str:
    """Return docs/reference/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Regent exports these on `/metrics` in the Prometheus and OpenMetrics formats, besides the usual `process_*`.",
        "Generated from `engine/metric_names.py`; do not edit.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in sorted(declared, key=lambda metric: metric.name):
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
        text = metric.help.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {metric.type.value} | {labels} | {text}{buckets} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference_markdown(), end="")  # noqa: T201
