"""Which namespace a command is about, found as kubectl finds it."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from regent.cli.options import ClusterOptions
from regent.domain.errors import SettingsError

DEFAULT = "default"


def namespace_of(options: ClusterOptions) -> str:
    """Name the namespace: that of the options, else of the kubeconfig's context, else of the pod, else `default`.

    Raises:
        SettingsError: the kubeconfig cannot be read or has no such context.
    """
    if options.namespace:
        return options.namespace
    paths = options.kubeconfig or os.environ.get("KUBECONFIG", "") or _home()
    if not paths:
        return _of_pod()
    try:
        merged = KubeConfigMerger(paths).config
        loader = KubeConfigLoader(config_dict=merged, active_context=options.context or None, config_base_path=None)
        return str(loader.current_context["context"].get("namespace") or DEFAULT)
    except (ConfigException, OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(f"kubeconfig {paths}: cannot tell the namespace; give one with --namespace") from error


def _home() -> str:
    path = Path.home() / ".kube" / "config"
    return str(path) if path.exists() else ""


def _of_pod() -> str:
    file = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")
    if SERVICE_HOST_ENV_NAME in os.environ and file.exists():
        return file.read_text(encoding="utf-8").strip() or DEFAULT
    return DEFAULT
