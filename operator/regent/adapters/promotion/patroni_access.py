"""How the Patroni of a region is reached: URL from the step, certificates and credentials from the policy's Secrets."""

from __future__ import annotations

from regent.adapters.promotion.patroni_api import Clients, PatroniApi, PatroniSecrets, basic_authorization
from regent.adapters.promotion.patroni_state import PatroniSettings
from regent.domain.errors import PromotionProblemError


class PatroniAccess:
    """Makes the clients of one step.

    Args:
        settings: of the step.
        step: its name, for messages.
        namespace: of the policy, where its Secrets are.
        clients: send the requests.
        secrets: credentials and certificate authority.
    """

    def __init__(
        self, settings: PatroniSettings, *, step: str, namespace: str, clients: Clients, secrets: PatroniSecrets
    ) -> None:
        self._settings = settings
        self._step = step
        self._namespace = namespace
        self._clients = clients
        self._secrets = secrets

    async def api(self, region: str, *, changing: bool = False) -> PatroniApi:
        """Return the client of a region's Patroni; `changing`: it carries the credentials.

        Raises:
            PromotionProblemError: the step lists no cluster there, or a Secret is wrong; says what to do.
            UnavailableError: a Secret cannot be read now.
        """
        settings = self._settings
        cluster = settings.clusters.get(region)
        if cluster is None:
            raise PromotionProblemError(
                "ClusterNotListed", f"step {self._step} lists no cluster in {region}: add it to patroni.clusters"
            )
        authority = b""
        if settings.authority:
            authority = await self._entry(settings.authority, "ca.crt")
        try:
            client = self._clients.client(authority)
        except ValueError as error:
            raise PromotionProblemError(
                "SecretInvalid", f"ca.crt of Secret {self._namespace}/{settings.authority}: {error}"
            ) from None
        authorization = ""
        if changing and settings.credentials:
            authorization = basic_authorization(
                await self._entry(settings.credentials, "username"), await self._entry(settings.credentials, "password")
            )
        return PatroniApi(region, cluster.url, client=client, authorization=authorization)

    async def _entry(self, name: str, key: str) -> bytes:
        value = (await self._secrets.data(self._namespace, name)).get(key)
        if not value:
            raise PromotionProblemError(
                "SecretKeyNotFound", f"Secret {self._namespace}/{name} has no key {key}: add it"
            )
        return value
