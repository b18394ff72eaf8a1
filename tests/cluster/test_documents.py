"""Every manifest in the documents is taken by a real API server, strictly: no unknown field, no rule broken."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from testbed.controlplane import Cluster
from testbed.toolchain import ensure, gateway_api_crds

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "docs/quickstart.md", "charts/regent/README.md"]
BLOCK = re.compile(r"^( *)```yaml\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)


def manifests(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in BLOCK.findall(text)]


CASES = [
    pytest.param(block, id=f"{document}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(manifests(document))
]


@pytest.fixture(scope="module")
def prepared(control_plane: Cluster) -> Cluster:
    control_plane.install_crds(ROOT / "crds")
    control_plane.install_crds(gateway_api_crds())
    return control_plane


def dry_run(cluster: Cluster, namespace: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(ensure("kubectl")), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}"]
    command += ["create", "--dry-run=server", "--validate=strict", "--filename=-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("text", CASES)
def test_manifest(prepared: Cluster, namespace: str, text: str) -> None:
    done = dry_run(prepared, namespace, text)
    assert done.returncode == 0, done.stderr


def test_there_are_manifests_to_check() -> None:
    assert len(CASES) >= 9


def test_a_wrong_manifest_would_be_seen(prepared: Cluster, namespace: str) -> None:
    region = yaml.safe_load(manifests("README.md")[0].partition("---")[0])
    region["spec"]["endpiont"] = region["spec"].pop("endpoint")
    assert "endpiont" in dry_run(prepared, namespace, yaml.safe_dump(region)).stderr


def test_the_example_in_the_chart_is_one(prepared: Cluster, namespace: str) -> None:
    chart = yaml.safe_load((ROOT / "charts" / "regent" / "Chart.yaml").read_text(encoding="utf-8"))
    for example in yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"]):
        done = dry_run(prepared, namespace, yaml.safe_dump(example))
        assert done.returncode == 0, done.stderr
