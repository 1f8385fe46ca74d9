"""`mcp-platform`: the one command behind everything."""

from mcp_platform.cli.main import main

__all__ = ["main"]
