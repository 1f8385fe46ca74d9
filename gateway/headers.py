"""The headers that a remote server is sent: its configuration's own, and never the caller's."""

from collections.abc import Mapping

from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.errors import UpstreamFailed
from mcp_platform.names import Collection
from mcp_platform.variables import UnknownVariable, Variables
from storage.documents import Documents


async def remote_headers(
    documents: Documents, route: Route, address: UpstreamAddress, variables: Variables
) -> Mapping[str, str]:
    """Give the headers of the server in the route's configuration, with `${NAME}` resolved.

    Raises:
        UpstreamFailed: A header refers to a variable that is not exposed or not set.
    """
    if address.server is None:
        return {}
    document = await documents.get(Collection.CONFIGS, route.config_key)
    try:
        server = McpConfig.model_validate(document or {}).server(address.server)
        return variables.resolve_all(server.headers)
    except UnknownVariable as unknown:
        raise UpstreamFailed(f"The server's headers cannot be made: {unknown}") from None
    except ValueError as missing:
        raise UpstreamFailed(f"The server is not configured any more: {missing}") from None
