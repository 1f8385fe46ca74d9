"""MCP servers that were installed from npm."""

from pathlib import Path
from typing import Any, Final

from tests.services.process import program, unavailable

_INSTALLED: Final = Path(__file__).parents[2] / ".cache/services/npm"


def everything_server() -> dict[str, Any]:
    """Give `server-everything`, over stdio, as an entry of `config.servers`."""
    command = npm_folder() / "node_modules/.bin/mcp-server-everything"
    return {"name": "everything", "command": str(command), "args": ["stdio"]}


def npm_folder() -> Path:
    """Give the folder that they are installed in, or skip the test."""
    program("node")
    if not (_INSTALLED / "done").exists():
        unavailable("the MCP servers from npm are not installed")
    return _INSTALLED
