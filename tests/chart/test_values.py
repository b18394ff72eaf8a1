"""Values: defaults are documented and pass their own schema, and what is wrong is refused by name."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from make.chart.generate import files
from make.chart.values import ChartValues
from regent.settings import load
from tests.chart_render import CHART, HelmError, helm, render_chart, settings_file


@pytest.mark.parametrize("name", sorted(files()))
def test_generated_files_are_up_to_date(name: str) -> None:
    assert (CHART / name).read_text(encoding="utf-8") == files()[name], "run make generate"


def test_values_file_holds_the_defaults_of_the_models() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert ChartValues.model_validate(values) == ChartValues()


def test_every_value_is_documented() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"^( *)([a-zA-Z]+):", text, flags=re.MULTILINE)
    assert len(keys) > 40
    lines = text.splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"^ *[a-zA-Z]+:", line) and not before.lstrip().startswith("#") and "requests" not in line
    ]
    inner = ("cpu:", "memory:", "topologyKey:", "whenUnsatisfiable:")
    assert [line for line in bare if not line.strip().startswith(inner)] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicaCount": "two"}, "replicaCount"),
        ({"replicaCount": -1}, "replicaCount"),
        ({"replicas": 2}, "replicas"),
        ({"image.pullPolicy": "Sometimes"}, "pullPolicy"),
        ({"image.digest": "latest"}, "digest"),
        ({"http.port": 0}, "port"),
        ({"crds.install": True}, "install"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey"),
        ({"serviceMonitor.interval": "soon"}, "interval"),
        ({"settings.failover": {"startupgrace": "10s"}}, "startupgrace"),
        ({"settings.failover": {"startupGrace": "ten"}}, "startupGrace"),
        ({"settings.failover": {"startupGrace": 10}}, "startupGrace"),
        ({"settings.reconcile": {"workers": 0}}, "workers"),
        ({"settings.namespace": "elsewhere"}, "namespace"),
        ({"settings.http": {"address": "0.0.0.0:1"}}, "http"),
        ({"settings.leaderElection": {"enabled": False}}, "enabled"),
        ({"leaderElection.enabled": False}, "set replicaCount: 1"),
        ({"serviceMonitor.enabled": True, "service.enabled": False}, "set service.enabled: true"),
        ({"serviceAccount.create": False}, "serviceAccount.name: name the existing account"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as refused:
        render_chart(values)
    assert said in str(refused.value)


def test_settings_that_pass_the_schema_pass_the_operator(tmp_path: Any) -> None:
    settings = {
        "secretNamespaces": ["tls"],
        "leaderElection": {"leaseName": "other", "leaseDuration": "8s", "renewInterval": "1s500ms"},
        "failover": {"suspendAll": True, "startupGrace": "20s"},
        "kubernetes": {"connections": 16},
        "log": {"level": "debug", "format": "json"},
    }
    objects = render_chart({"settings": settings})
    file = tmp_path / "settings.yaml"
    file.write_text(settings_file(objects), encoding="utf-8")
    loaded = load(file=str(file), environment={}, flags={})
    assert json.loads(loaded.model_dump_json(by_alias=True, exclude_unset=True)) == settings


def test_no_settings_are_no_settings() -> None:
    assert yaml.safe_load(settings_file(render_chart())) == {}


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))
