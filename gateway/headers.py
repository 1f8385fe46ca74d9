"""The headers that a remote server is sent: its configuration's own, and never the caller's."""

import os
import re
from collections.abc import Mapping, Sequence

from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.errors import UpstreamFailed
from storage.documents import CONFIGS, Documents

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


async def remote_headers(
    documents: Documents, route: Route, address: UpstreamAddress, exposed: Sequence[str]
) -> Mapping[str, str]:
    """Give the headers of the server in the route's configuration, with `${NAME}` resolved.

    Raises:
        UpstreamFailed: A header refers to a variable that is not exposed or not set.
    """
    if address.server is None:
        return {}
    document = await documents.get(CONFIGS, route.config_key)
    config = McpConfig.model_validate(document or {})
    for server in config.servers:
        if server.name == address.server:
            return {name: _resolve(name, value, exposed) for name, value in server.headers.items()}
    return {}


def _resolve(header: str, value: str, exposed: Sequence[str]) -> str:
    def variable(match: re.Match[str]) -> str:
        name = match[1]
        found = os.environ.get(name) if name in exposed else None
        if found is None:
            raise UpstreamFailed(
                f"The header {header} refers to ${{{name}}}, which is not set or not exposed"
            )
        return found

    return _REFERENCE.sub(variable, value)
