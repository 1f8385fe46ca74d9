"""The small program in front of a stdio server: serves it over Streamable HTTP, and lives as long as it.

It imports neither the platform's settings nor the MCP SDK, so that a replica starts in well under a
second and costs little memory.
"""
