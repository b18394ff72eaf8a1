"""deploy/: what kustomize makes of it is what the chart makes, and the API server would take it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from make.chart.manifests import FILES
from regent.adapters.promotion.rules import member_roles
from testbed.toolchain import ensure
from tests.chart_render import only, render_chart

WITHOUT = {"crds.enabled": False, "admission.stampWith": "None"}
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def kustomize(folder: str) -> list[dict[str, Any]]:
    command = [str(ensure("kubectl")), "kustomize", str(DEPLOY / folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.mark.parametrize("name", FILES)
def test_they_are_up_to_date(name: str) -> None:
    assert (DEPLOY.parent / name).read_text(encoding="utf-8") == FILES[name](), "run make generate"


def test_the_base_holds_what_the_chart_makes() -> None:
    chart = {(obj["kind"], obj["metadata"]["name"]) for obj in render_chart(WITHOUT)}
    base = kustomize("base")
    assert {(obj["kind"], obj["metadata"]["name"]) for obj in base} == chart | {("Namespace", "regent-system")}
    assert only(base, "Deployment")["spec"]["replicas"] == 2
    assert "Helm" not in (DEPLOY / "base" / "regent.yaml").read_text(encoding="utf-8")


def test_the_component_adds_the_stamp_also_in_another_namespace(tmp_path: Path) -> None:
    """The policies name the account, so an overlay with another namespace says so, as deploy/gitops.md shows."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    overlay = (
        (DEPLOY / "gitops.md").read_text(encoding="utf-8").split("```yaml\n# another namespace\n")[1].split("```")[0]
    )
    (tmp_path / "deploy" / "mine").mkdir()
    (tmp_path / "deploy" / "mine" / "kustomization.yaml").write_text(overlay, encoding="utf-8")
    objects = kustomize(str(tmp_path / "deploy" / "mine"))
    assert {obj["metadata"]["name"] for obj in objects if obj["kind"].startswith("Mutating")} == {"regent-requester"}
    policies = [obj for obj in objects if obj["kind"].endswith("AdmissionPolicy")]
    assert len(policies) == 5
    for policy in policies:
        condition = policy["spec"]["matchConditions"][0]["expression"]
        assert "'system:serviceaccount:elsewhere:regent'" in condition, policy["metadata"]["name"]


def test_a_member_clusters_account_has_what_the_steps_need_and_can_prove_its_cluster() -> None:
    objects = kustomize("member")
    granted = [rule for obj in objects if obj["kind"] == "ClusterRole" for rule in obj["rules"]]
    needed = [rule for rules in member_roles().values() for rule in rules]
    assert sorted(granted, key=str) == sorted(needed, key=str)
    assert {"namespaces", "httproutes", "deployments"} <= {name for rule in granted for name in rule["resources"]}
    assert all("*" not in rule["resources"] + rule["verbs"] for rule in granted)
    account = only(objects, "ServiceAccount")["metadata"]
    for obj in objects:
        if obj["kind"] == "ClusterRoleBinding":
            subject = {"kind": "ServiceAccount", "namespace": account["namespace"], "name": account["name"]}
            assert obj["subjects"] == [subject]


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
