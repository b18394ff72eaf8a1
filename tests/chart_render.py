"""Renders the chart, for tests of the chart itself and for those that run the operator with the chart's account,
permissions and arguments."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.toolchain import ensure

CHART = Path(__file__).resolve().parents[1] / "charts" / "regent"


class HelmError(Exception):
    """Helm refused; the text is what it wrote."""


@functools.cache
def helm_program() -> Path:
    return ensure("helm")


def helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    """Run Helm and give what it wrote; its own files stay out of the home directory."""
    with tempfile.TemporaryDirectory(prefix="regent-helm-") as home:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "HELM_CACHE_HOME": f"{home}/cache",
            "HELM_CONFIG_HOME": f"{home}/config",
            "HELM_DATA_HOME": f"{home}/data",
            **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
        }
        done = subprocess.run(
            [str(helm_program()), *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    if done.returncode:
        raise HelmError(done.stderr or done.stdout)
    return done.stdout


def values_arguments(values: Mapping[str, Any]) -> list[str]:
    """Give the values as arguments of Helm; JSON keeps lists and types."""
    return [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]


def render_chart(
    values: Mapping[str, Any] | None = None, *, namespace: str = "regent-system", release: str = "regent"
) -> list[dict[str, Any]]:
    """Give the objects that `helm install` would make, test hooks left out.

    Raises:
        HelmError: the values are refused.
    """
    arguments = ["template", release, str(CHART), "--namespace", namespace, "--skip-tests"]
    text = helm(*arguments, *values_arguments(values or {}))
    return [document for document in yaml.safe_load_all(text) if document]


def only(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """Give the one object of the kind (and name)."""
    found = [obj for obj in objects if obj["kind"] == kind and name in ("", obj["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} {name}"
    return found[0]


def operator_arguments(objects: list[dict[str, Any]], *, namespace: str = "regent-system") -> list[str]:
    """Give the container's arguments with its variables filled in, as the kubelet would."""
    container = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return [argument.replace("$(POD_NAMESPACE)", namespace) for argument in container["args"]]


def settings_file(objects: list[dict[str, Any]]) -> str:
    """Give the text of the settings file that the ConfigMap carries."""
    return str(only(objects, "ConfigMap")["data"]["settings.yaml"])
