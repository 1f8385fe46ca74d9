"""How other programs write down MCP servers, read and written."""
