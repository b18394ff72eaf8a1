"""Reads the Secrets that a Region names, from the namespaces that it may name.

A Region is cluster-scoped, so whoever may write Regions could otherwise have any Secret of the cluster sent to an
endpoint of his own. Only the operator's namespace and those in the setting `secretNamespaces` are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from regent.domain.cluster_secrets import (
    ARGO_CD_CONFIG,
    ARGO_CD_SERVER,
    CLUSTER_API_KEY,
    SecretForm,
    argo_cd_kubeconfig,
    form_of,
)
from regent.domain.errors import ForbiddenError, NotFoundError
from regent.domain.health.model import ProbeSpec
from regent.domain.health.plan import ProbePlan, SecretReference
from regent.engine.ports import Cluster, Object
from regent.engine.resources import SECRETS

MAX_VALUE = 256 * 1024
"""Longest value that is used, in bytes: a CA bundle of the whole web is about 220 kB."""


class SetupProblemError(Exception):
    """Something in a Region's spec has to be put right. `reason` is for a condition, the text for people; the text
    names Secrets and keys, never their contents."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RegionSecrets:
    """Resolves references to Secrets.

    Args:
        cluster: where they are read, past any cache.
        namespace: the operator's.
        allowed: further namespaces that Regions may refer to.
    """

    def __init__(self, *, cluster: Cluster, namespace: str, allowed: Collection[str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._allowed = frozenset(allowed) | {namespace}

    async def text(self, reference: SecretReference) -> str:
        """Return the value of one key.

        Raises:
            SetupProblemError: it may not be read, is not there, or is no text.
            ClusterError: the API server could not tell.
        """
        return self._value(await self._read(reference), reference.key, reference)

    async def kubeconfig(self, reference: SecretReference) -> str:
        """Return a cluster's kubeconfig, out of a Secret of our own, of Cluster API or of Argo CD.

        Raises:
            ValueError: an Argo CD cluster Secret says what cannot be used.
            SetupProblemError, ClusterError: as `text` does.
        """
        secret = await self._read(reference)
        form = form_of(
            secret_type=str(secret.get("type") or ""),
            labels=secret["metadata"].get("labels") or {},
            keys=(secret.get("data") or {}).keys(),
            key=reference.key,
        )
        if form is SecretForm.ARGO_CD:
            server, config = (self._value(secret, key, reference) for key in (ARGO_CD_SERVER, ARGO_CD_CONFIG))
            return argo_cd_kubeconfig(server=server, config=config)
        if form is SecretForm.CLUSTER_API and CLUSTER_API_KEY not in (secret.get("data") or {}):
            raise SetupProblemError(
                "SecretKeyNotFound",
                f"Secret {reference.namespace or self._namespace}/{reference.name} of Cluster API has no key "
                f"{CLUSTER_API_KEY}: name the one with the kubeconfig, <cluster>-kubeconfig",
            )
        return self._value(secret, CLUSTER_API_KEY if form is SecretForm.CLUSTER_API else reference.key, reference)

    async def probe(self, plan: ProbePlan) -> ProbeSpec:
        """Return a probe with its TLS material; raises as `text` does."""
        ca = certificate = key = ""
        if plan.ca is not None:
            ca = await self.text(plan.ca)
        if plan.client_certificate is not None:
            secret = await self._read(plan.client_certificate)
            certificate = self._value(secret, "tls.crt", plan.client_certificate)
            key = self._value(secret, "tls.key", plan.client_certificate)
        return plan.resolved(ca_pem=ca, certificate_pem=certificate, key_pem=key)

    async def _read(self, reference: SecretReference) -> Object:
        namespace = reference.namespace or self._namespace
        if namespace not in self._allowed:
            raise SetupProblemError(
                "SecretNamespaceNotAllowed",
                f"Secret {namespace}/{reference.name} is not read: move it to namespace {self._namespace}, or add "
                f"{namespace} to the setting secretNamespaces",
            )
        try:
            return await self._cluster.get(SECRETS, namespace, reference.name)
        except NotFoundError as error:
            raise SetupProblemError(
                "SecretNotFound", f"Secret {namespace}/{reference.name} does not exist: create it"
            ) from error
        except ForbiddenError as error:
            raise SetupProblemError(
                "SecretForbidden",
                f"the operator's account may not read Secret {namespace}/{reference.name}: grant it that",
            ) from error

    def _value(self, secret: Object, key: str, reference: SecretReference) -> str:
        where = f"Secret {reference.namespace or self._namespace}/{reference.name}"
        value = (secret.get("data") or {}).get(key)
        if value is None:
            raise SetupProblemError("SecretKeyNotFound", f"{where} has no key {key}: add it")
        try:
            raw = base64.b64decode(value, validate=True)
            if len(raw) > MAX_VALUE:
                raise SetupProblemError("SecretInvalid", f"key {key} of {where} is longer than {MAX_VALUE} bytes")
            return raw.decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise SetupProblemError("SecretInvalid", f"key {key} of {where} is not text") from error
