"""The catalogue of known MCP servers that ships with the platform: real servers, as they are published.

Each is a file of `data`, a `KnownServer` in JSON, whose name is its slug. `products.txt` names what people
ask for by name and no server of the catalogue reaches.
"""

from functools import cache as once
from importlib.resources import files
from typing import Final

from mcp_platform.contracts.known import KnownServer
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.packages import package_of

_FOLDER: Final = files(__package__)
_SAID: Final = frozenset({"name", "type", "command", "args", "env"})
"""What a server may say that is trusted."""


@once
def shipped_servers() -> tuple[KnownServer, ...]:
    """Read the catalogue, in the order of the slugs."""
    entries = sorted(
        (entry for entry in _FOLDER.joinpath("data").iterdir() if entry.name.endswith(".json")),
        key=lambda entry: entry.name,
    )
    return tuple(KnownServer.model_validate_json(entry.read_bytes()) for entry in entries)


def is_trusted(server: ServerConfig) -> bool:
    """Tell whether anybody may have this command tried as a process.

    It stands in the shipped catalogue exactly so, as one that is trusted in the very version that it pins:
    what is published under its name later is not run.
    """
    if server.command is None or server.model_dump(exclude_unset=True).keys() - _SAID:
        return False
    return any(
        (known.command, known.args, known.env) == (server.command, server.args, server.env)
        for known in _trusted()
    )


@once
def _trusted() -> tuple[ServerConfig, ...]:
    found = []
    for known in shipped_servers():
        server = ServerConfig.model_validate(known.config()["servers"][0])
        package = package_of(server) if known.trusted else None
        if package is not None and package.version is not None and package.version == known.version:
            found.append(server)
    return tuple(found)


@once
def other_products() -> frozenset[str]:
    """Read the names of products that no server of the catalogue reaches."""
    lines = _FOLDER.joinpath("products.txt").read_text("utf-8").splitlines()
    return frozenset(
        name.strip() for line in lines if not line.startswith("#") for name in line.split(",") if name.strip()
    )
