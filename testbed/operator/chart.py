"""Installs what the chart makes around the operator, and reads how its container is started.

The pods themselves cannot run here (there is no kubelet), so the processes run beside the cluster: with the arguments,
the environment, the mounted settings and the ServiceAccount of the rendered Deployment. A right that is missing in the
chart, or an argument that the operator does not know, shows in every end-to-end test.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from testbed.controlplane import ApiError, Cluster
from testbed.toolchain import ensure

Json = dict[str, Any]
CHART = Path(__file__).resolve().parents[2] / "charts" / "regent"
_NEEDS_MORE = frozenset({"ServiceMonitor", "Pod"})
"""Kinds that are not applied: another project's, and the chart's test hook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """How to start replicas: whom they sign in as, and with what."""

    kubeconfig: Path
    namespace: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)


def render(
    *, release: str = "regent", namespace: str = "regent-system", values: Mapping[str, Any] | None = None
) -> list[Json]:
    """The chart's objects for a release, in the order in which they are to be applied.

    Raises:
        subprocess.CalledProcessError: the values are not valid; its stderr says why.
    """
    argv = [str(ensure("helm")), "template", release, str(CHART), "--namespace", namespace, "--values", "-"]
    argv += ["--kube-version", "1.36.3"]
    answer = subprocess.run(argv, input=json.dumps(dict(values or {})), capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise subprocess.CalledProcessError(answer.returncode, argv, answer.stdout, answer.stderr)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects = [document for document in yaml.load_all(answer.stdout, Loader=loader) if document]
    return sorted(objects, key=lambda item: item["kind"] != "CustomResourceDefinition")


def install(
    cluster: Cluster, *, namespace: str = "regent-system", settings: Mapping[str, Any] | None = None
) -> Installation:
    """Apply the chart (definitions, ServiceAccount, roles, settings, Deployment) and say how to start its container.

    `settings` is the chart's value of that name: the operator's settings file as a tree.
    """
    try:
        cluster.create_namespace(namespace)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    objects = render(namespace=namespace, values={"settings": dict(settings or {})})
    definitions = [item for item in objects if item["kind"] == "CustomResourceDefinition"]
    cluster.install_crds(definitions)
    others = [item for item in objects if item not in definitions and item["kind"] not in _NEEDS_MORE]
    cluster.apply(others, namespace=namespace)
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    kubeconfig = cluster.service_account_kubeconfig(namespace, pod["serviceAccountName"])
    mounts = _mounts(pod, objects, cluster.directory / "mounts")
    container = pod["containers"][0]
    environment = {entry["name"]: _value(entry, namespace) for entry in container.get("env", [])}
    args = [_expand(argument, environment, mounts) for argument in container["args"]]
    if args[:1] != ["run"]:
        raise ValueError(f"the chart's container does not start with `run`: {container['args']}")
    return Installation(kubeconfig=kubeconfig, namespace=namespace, args=tuple(args[1:]), environment=environment)


def _mounts(pod: Json, objects: list[Json], directory: Path) -> dict[str, str]:
    """Write mounted ConfigMaps to files; gives the real directory by mount path."""
    maps = {item["metadata"]["name"]: item.get("data") or {} for item in objects if item["kind"] == "ConfigMap"}
    sources = {volume["name"]: volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    found = {}
    for mount in pod["containers"][0].get("volumeMounts", []):
        if mount["name"] not in sources:
            continue
        target = directory / mount["name"]
        target.mkdir(parents=True, exist_ok=True)
        for name, text in maps[sources[mount["name"]]].items():
            (target / name).write_text(text)
        found[mount["mountPath"]] = str(target)
    return found


def _value(entry: Json, namespace: str) -> str:
    if "value" in entry:
        return str(entry["value"])
    path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
    if path != "metadata.namespace":
        raise ValueError(f"the testbed does not know how to fill in {entry['name']}")
    return namespace


def _expand(argument: str, environment: Mapping[str, str], mounts: Mapping[str, str]) -> str:
    """As the kubelet does with `$(NAME)`; and container paths become real ones."""
    for name, value in environment.items():
        argument = argument.replace(f"$({name})", value)
    for inside, outside in mounts.items():
        argument = argument.replace(f"{inside}/", f"{outside}/")
    return argument
