"""Connections to MCP servers: modern and legacy Streamable HTTP, and legacy HTTP+SSE."""
