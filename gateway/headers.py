"""Where a remote server is and what it is sent: its configuration's own headers, never the caller's."""

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
    """Give the address and the headers of a route's server, with each `${NAME}` resolved.

    Raises:
        UpstreamFailed: Something refers to what is no secret and not exposed, or cannot be sent.
    """
    if address.server is None:
        return Target(address.url, {})
    document = await documents.get(Collection.CONFIGS, route.config_key)
    try:
        headers = McpConfig.model_validate(document or {}).server(address.server).headers
    except ValueError as missing:
        raise UpstreamFailed(f"The server is not configured any more: {missing}") from None
    names = references(address.url) | references(headers)
    try:
        variables = await secrets.variables(route.mcp_id, names)
        return Target(variables.resolve(address.url), variables.resolve_headers(headers))
    except Unresolvable as unknown:
        raise UpstreamFailed(f"The server's address or headers cannot be made: {unknown}") from None
