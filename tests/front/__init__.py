"""The server towards MCP clients."""
