"""What private repositories are read with: the tokens of their owners' connections."""

from urllib.parse import urlsplit
from uuid import UUID

import structlog

from mcp_platform.contracts.github import Connection, ConnectionState, connection_purpose
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.repository_address import same_site
from mcp_platform.security.sealing import CannotUnseal, Sealer
from storage.stores import Stores

logger = structlog.get_logger(__name__)


class ConnectionTokens:
    """Finds the token of an account's own connection to a repository.

    Args:
        stores: Where the connections are.
        sealer: Opens their tokens.
        settings: Which hosts tokens may be sent to.
    """

    def __init__(self, stores: Stores, sealer: Sealer, settings: GitHubSettings) -> None:
        self._stores = stores
        self._sealer = sealer
        self._settings = settings

    async def token(self, owner_id: UUID, url: str) -> str | None:
        """Give what proves that the account may read the repository; None: it has to be public.

        A token goes to the very host of its connection's repository, and nowhere else.
        """
        site, name = _place(url)
        async with self._stores.read() as rows:
            found = await rows.connections.of_repository(name)
        for sealed in found:
            connection = sealed.connection
            if (
                connection.owner_id != owner_id
                or connection.state is not ConnectionState.CONNECTED
                or sealed.sealed_token is None
                or _place(connection.repository_url)[0] != site
                or not self._may_be_sent(connection)
            ):
                continue
            try:
                purpose = connection_purpose(connection.id, "token")
                return self._sealer.unseal(sealed.sealed_token, purpose).decode()
            except CannotUnseal as error:
                logger.error("connection_token_not_opened", connection_id=connection.id, error=str(error))
        return None

    def _may_be_sent(self, connection: Connection) -> bool:
        """Tell whether the repository's host is that of an API which tokens are sent to, today too."""
        api_url = connection.api_url
        return self._settings.allows(api_url) and same_site(connection.repository_url, api_url)


def _place(url: str) -> tuple[tuple[str, str], str]:
    """Take an address apart: its site, and the name of the repository there."""
    parts = urlsplit(url)
    path = parts.path.strip("/").removesuffix(".git")
    return (parts.scheme.lower(), parts.netloc.lower()), path
