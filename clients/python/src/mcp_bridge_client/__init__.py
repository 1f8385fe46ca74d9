"""Calls MCP tools through the bridge of an MCP Platform."""

from mcp_bridge_client.client import AsyncMcpBridgeClient, McpBridgeClient
from mcp_bridge_client.errors import (
    BridgeError,
    ConnectionFailed,
    Forbidden,
    InvalidRequest,
    RateLimited,
    RequestTimeout,
    ServiceNotFound,
    ServiceUnavailable,
    ToolFailed,
    ToolNotFound,
    Unauthorized,
)
from mcp_bridge_client.models import BatchOutcome, Call, Instance, ServiceInfo, Tool, ToolAnswer

__all__ = [
    "AsyncMcpBridgeClient",
    "BatchOutcome",
    "BridgeError",
    "Call",
    "ConnectionFailed",
    "Forbidden",
    "Instance",
    "InvalidRequest",
    "McpBridgeClient",
    "RateLimited",
    "RequestTimeout",
    "ServiceInfo",
    "ServiceNotFound",
    "ServiceUnavailable",
    "Tool",
    "ToolAnswer",
    "ToolFailed",
    "ToolNotFound",
    "Unauthorized",
]
