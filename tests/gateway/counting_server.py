"""A stdio MCP server that writes down each execution: `python counting_server.py JOURNAL`."""

import asyncio
import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

_SECONDS = 0.05
"""How long a call takes, so that some are under way whenever the server is killed."""

server = MCPServer("counting")


async def _execute(tool: str, key: str) -> str:
    journal = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, f"{tool} {key}\n".encode())  # in one piece, whoever else appends
    finally:
        os.close(journal)
    await asyncio.sleep(_SECONDS)
    return key


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def look(key: str) -> str:
    """Change nothing."""
    return await _execute("look", key)


@server.tool(annotations=ToolAnnotations(read_only_hint=False, idempotent_hint=True))
async def put(key: str) -> str:
    """Change the same, however often."""
    return await _execute("put", key)


@server.tool()
async def add(key: str) -> str:
    """Change something, each time."""
    return await _execute("add", key)


if __name__ == "__main__":
    server.run()
