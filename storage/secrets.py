"""The values of secrets, opened only for who starts or calls a server."""

from collections.abc import Collection
from uuid import UUID

import structlog

from mcp_platform.contracts.secrets import SHARED, secret_purpose
from mcp_platform.security.sealing import CannotUnseal, Sealer
from mcp_platform.variables import UnreadableSecret, Variables
from storage.sql.engine import Database
from storage.sql.mcps import McpRepository
from storage.sql.secrets import SecretRepository

logger = structlog.get_logger(__name__)


class KnownSecrets:
    """Opens secrets for who takes them out of texts, or uses them for the platform itself.

    Args:
        database: Where the secrets are, sealed.
        sealer: Opens them.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def values(self, owner_id: UUID) -> list[str]:
        """Give the values of an account's own secrets and of all shared ones that can be opened."""
        return list((await self._opened(owner_id.hex, SHARED)).values())

    async def shared(self, name: str) -> str | None:
        """Give the value of a shared secret, or None if there is none that can be opened."""
        return (await self._opened(SHARED)).get(name)

    async def _opened(self, *holders: str) -> dict[str, str]:
        async with self._database.read() as session:
            sealed = await SecretRepository(session).sealed_of(*holders)
        found: dict[str, str] = {}
        for secret, text in sealed:
            # A shared one and an account's own may have the same name, and both count.
            name = secret.name if len(holders) == 1 else f"{secret.holder}/{secret.name}"
            try:
                found[name] = self._sealer.unseal(text, secret.purpose).decode()
            except CannotUnseal as error:
                logger.error("secret_not_opened", name=secret.name, error=str(error))
        return found


class SecretValues:
    """Resolves what an MCP's configuration refers to; nothing is kept.

    Args:
        database: Where the secrets are, sealed.
        sealer: Opens them.
        environment: What configurations may see besides.
    """

    def __init__(self, database: Database, sealer: Sealer, environment: Variables) -> None:
        self._database = database
        self._sealer = sealer
        self._environment = environment

    async def variables(self, mcp_id: UUID, names: Collection[str]) -> Variables:
        """Give the variables of an MCP: its author's secrets, else shared ones, else the environment.

        Shared ones are only for authors whose present role has `secrets:use`.

        Raises:
            UnreadableSecret: A secret was sealed under a master key that is not known here.
        """
        if not names:
            return self._environment
        async with self._database.read() as session:
            mcp = await McpRepository(session).get(mcp_id)
            if mcp is None:
                return self._environment
            secrets = SecretRepository(session)
            sealed = await secrets.sealed(mcp.author_id, names)
            shared = bool(await secrets.using_shared([mcp.author_id]))
        return self._environment.with_secrets(
            {name: self._open(name, secret_id, text) for name, (secret_id, text) in sealed.items()},
            with_shared=shared,
        )

    def _open(self, name: str, secret_id: UUID, sealed: str) -> str:
        try:
            return self._sealer.unseal(sealed, secret_purpose(secret_id)).decode()
        except CannotUnseal as error:
            logger.error("secret_not_opened", name=name, error=str(error))
            raise UnreadableSecret(name, str(error)) from None
