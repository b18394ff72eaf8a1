"""Metrics: declared names only, one series per label set, forgotten with their objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import regent
from regent.adapters.metrics import PrometheusMetrics, reference_markdown
from regent.engine.metric_names import METRICS, Metric, MetricType

DECLARED = (
    Metric("t_total", MetricType.COUNTER, "c", ("region",)),
    Metric("t_gauge", MetricType.GAUGE, "g", ("region", "policy")),
    Metric("t_plain", MetricType.GAUGE, "p"),
    Metric("t_seconds", MetricType.HISTOGRAM, "h", ("region",), (0.1, 1.0)),
)


async def rendered(metrics: PrometheusMetrics) -> str:
    body, content_type = await metrics.render()
    assert content_type.startswith("text/plain")
    return body.decode()


async def test_counts_gauges_and_histograms_are_rendered() -> None:
    metrics = PrometheusMetrics(DECLARED)
    metrics.count("t_total", region="eu")
    metrics.count("t_total", 2, region="eu")
    metrics.gauge("t_plain", 7)
    metrics.observe("t_seconds", 0.5, region="eu")
    text = await rendered(metrics)
    assert 't_total{region="eu"} 3.0' in text
    assert "t_plain 7.0" in text
    assert 't_seconds_bucket{le="0.1",region="eu"} 0.0' in text
    assert 't_seconds_bucket{le="1.0",region="eu"} 1.0' in text
    assert "_created" not in text


async def test_forget_drops_the_series_of_what_is_gone_and_no_other() -> None:
    metrics = PrometheusMetrics(DECLARED)
    for region in ("eu", "us"):
        metrics.count("t_total", region=region)
        metrics.gauge("t_gauge", 1, region=region, policy="p")
        metrics.observe("t_seconds", 1, region=region)
    metrics.gauge("t_plain", 1)
    metrics.forget(region="eu")
    text = await rendered(metrics)
    assert '"eu"' not in text
    assert text.count('"us"') >= 3
    assert "t_plain 1.0" in text
    metrics.forget()
    assert '"us"' in await rendered(metrics), "no labels is not everything"


@pytest.mark.parametrize("labels", [{}, {"region": "eu", "extra": "x"}])
async def test_an_undeclared_name_or_label_is_logged_once_and_stops_nothing(
    labels: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics(DECLARED)
    for _ in range(3):
        metrics.count("t_total", **labels)
        metrics.gauge("t_unknown", 1)
    assert len(caplog.records) == 2


async def test_open_metrics_on_request() -> None:
    body, content_type = await PrometheusMetrics().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_every_metric_in_the_source_is_declared_and_every_declared_one_is_used() -> None:
    declared = {metric.name for metric in METRICS}
    source = Path(regent.__file__).parent
    used: set[str] = set()
    for path in source.rglob("*.py"):
        if path.name != "metric_names.py":
            used |= set(re.findall(r'"(regent_[a-z0-9_]+)"', path.read_text()))
    assert used <= declared, f"declare in engine/metric_names.py: {sorted(used - declared)}"
    assert declared <= used, f"never set: {sorted(declared - used)}"


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"regent_[a-z][a-z0-9_]*", metric.name)
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") is (metric.type is MetricType.COUNTER)
        assert bool(metric.buckets) is (metric.type is MetricType.HISTOGRAM)
        assert len(metric.buckets) <= 5 or "region" not in metric.labels
        assert f"| `{metric.name}` |" in reference_markdown()
