"""What stands for the secrets of a configuration while it is tried."""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.variables import Variables, references

_PLACEHOLDER: Final = "placeholder"
_FOLDER: Final = "HOME"
"""The one name that stands for something: the folder of the trial."""


def placeholders_of(server: ServerConfig) -> list[str]:
    """Give the names that a server refers to, and that stand for nothing in a trial."""
    return sorted(references(server.model_dump()) - {_FOLDER})


def placeholders(parts: Sequence[BaseModel], folder: str = "/tmp") -> Variables:
    """Give variables in which each name that parts of a configuration refer to stands for a placeholder."""
    names = references([part.model_dump() for part in parts])
    return Variables({}, (), {name: folder if name == _FOLDER else _PLACEHOLDER for name in names})


def with_placeholders(server: ServerConfig, folder: str) -> ServerConfig:
    """Give the server as it is tried: with placeholders, in a folder of its own."""
    variables = placeholders([server], folder)
    return server.model_copy(
        update={
            "command": server.command and variables.resolve(server.command),
            "args": [variables.resolve(arg) for arg in server.args],
            "env": variables.resolve_all(server.env),
            "cwd": variables.resolve(server.cwd) if server.cwd else None,
            # What refers to a secret is left out: a made up credential is a failed attempt to sign in.
            "headers": {name: text for name, text in server.headers.items() if not references(text)},
        }
    )
