"""Telling a package that cannot be fetched from a server that does not work."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from mcp_platform.build_sources import launched_package
from mcp_platform.contracts.mcps import ServerConfig

_LAUNCHERS: Final = frozenset({"npx", "pipx", "uvx"})
"""Programs that get what they run first, also with options by which no image could be built."""
_AWAY: Final = re.compile(
    r"client error \(Connect\)|Failed to fetch|error sending request for url|NewConnectionError"
    r"|Temporary failure in name resolution|dns error"
    r"|npm error (?:code|errno) (?:ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|UNABLE_TO)"
)
"""What uv, pip and npm write when their registry does not answer; they write other words when it says no."""


def could_not_fetch(server: ServerConfig, written: Sequence[str]) -> bool:
    """Tell whether a command that gets its package first could not: nothing is known of the server then."""
    program = PurePosixPath(server.command or "").name
    if program not in _LAUNCHERS and launched_package(server) is None:
        return False
    return any(_AWAY.search(line) for line in written)
