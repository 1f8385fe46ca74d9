"""Which endpoints tell their clients to sign in by OAuth."""

from typing import Any, Final

from sqlalchemy import String, select, type_coerce

from storage.sql.engine import SessionT
from storage.sql.repository import Repository
from storage.sql.tables import GroupRow, McpPolicyRow, McpRow

_FIELD: Final = "advertise_oauth"
_ON: Final = f'"{_FIELD}":true'


class OAuthEndpointRepository(Repository[SessionT]):
    """Endpoints by the field in an MCP's policy, and in a group's settings."""

    async def advertised(self) -> frozenset[str]:
        """Name them: slugs, and `group/{name}`."""
        # The engines have no JSON: a text that cannot hold it is left out, and the rest is read.
        mcps = (
            select(McpRow.slug, McpPolicyRow.policy)
            .join(McpRow, McpRow.id == McpPolicyRow.mcp_id)
            .where(type_coerce(McpPolicyRow.policy, String).contains(_ON, autoescape=True))
        )
        groups = select(GroupRow.name, GroupRow.settings).where(
            type_coerce(GroupRow.settings, String).contains(_ON, autoescape=True)
        )
        found = {slug for slug, policy in await self._session.execute(mcps) if _is_on(policy)}
        found |= {f"group/{name}" for name, own in await self._session.execute(groups) if _is_on(own)}
        return frozenset(found)


def _is_on(document: Any) -> bool:
    return isinstance(document, dict) and document.get(_FIELD) is True
