"""deploy/: what kustomize makes of it is what the chart makes, and the API server would take it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from make.chart.manifests import manifests
from testbed.toolchain import ensure
from tests.chart_render import only, render_chart

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def kustomize(folder: str) -> list[dict[str, Any]]:
    command = [str(ensure("kubectl")), "kustomize", str(DEPLOY / folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def test_the_base_is_up_to_date() -> None:
    assert (DEPLOY / "base" / "regent.yaml").read_text(encoding="utf-8") == manifests(), "run make generate"


def test_the_base_holds_what_the_chart_makes() -> None:
    chart = {(obj["kind"], obj["metadata"]["name"]) for obj in render_chart({"crds.enabled": False})}
    base = kustomize("base")
    assert {(obj["kind"], obj["metadata"]["name"]) for obj in base} == chart | {("Namespace", "regent-system")}
    assert only(base, "Deployment")["spec"]["replicas"] == 2
    assert "Helm" not in (DEPLOY / "base" / "regent.yaml").read_text(encoding="utf-8")


def test_the_overlay_changes_what_it_says() -> None:
    deployment = only(kustomize("overlays/dev"), "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "regent:dev"
    settings = only(kustomize("overlays/dev"), "ConfigMap")["data"]["settings.yaml"]
    assert yaml.safe_load(settings)["log"]["level"] == "debug"


@pytest.mark.parametrize("folder", ["base", "overlays/dev"])
def test_pods_run_in_a_restricted_namespace(folder: str) -> None:
    labels = only(kustomize(folder), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
