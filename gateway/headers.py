"""Where a remote server is and what it is sent: its configuration's own headers, never the caller's."""

from gateway.rest_upstreams.api import ApiTarget
from gateway.upstreams.upstream import Target
from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.errors import UpstreamFailed
from mcp_platform.names import Collection
from mcp_platform.variables import Unresolvable, references
from storage.documents import Documents
from storage.secrets import SecretValues


async def target_of(
    documents: Documents, secrets: SecretValues, route: Route, address: UpstreamAddress
) -> Target:
    """Give the address and the headers of a replica's server, with each `${NAME}` resolved.

    Raises:
        UpstreamFailed: Something refers to what is no secret and not exposed, or cannot be sent.
    """
    if address.server is None or address.config_key is None:
        return Target(address.url, {})
    document = await documents.get(Collection.CONFIGS, address.config_key)
    try:
        config = McpConfig.model_validate(document or {})
        server = config.server(address.server)
    except ValueError as missing:
        raise UpstreamFailed(f"The server is not configured any more: {missing}") from None
    tools = config.tools if server.is_rest else []
    requests = [tool.request.model_dump() for tool in tools if tool.request is not None]
    names = references([address.url, server.headers, requests])
    try:
        variables = await secrets.variables(route.mcp_id, names)
        url = variables.resolve(address.url)
        api = ApiTarget.read(route, config, url, variables, server.headers) if server.is_rest else None
        return Target(url, variables.resolve_headers(server.headers), api)
    except Unresolvable as unknown:
        raise UpstreamFailed(f"The server's address or headers cannot be made: {unknown}") from None
