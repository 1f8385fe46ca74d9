"""Tells whether the catalogue of known servers is still true: `python -m benchmarks.analysis.catalogue`.

Each entry, or each of those that are named, is held against its package registry; those that need neither
network nor secrets are started as the catalogue says, and must list the tools that it names.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from activities.clients.packages import PackageRegistries
from benchmarks.tables import show
from mcp_platform.check_settings import PackageSettings
from mcp_platform.contracts.checks import PackageQuestion
from mcp_platform.contracts.known import KnownServer
from mcp_platform.known_servers import shipped_servers

_PATIENCE: Final = 120.0
"""Seconds in which a server must have been fetched, started and asked."""


async def main(slugs: Sequence[str]) -> int:
    """Check them one after the other; 1 if anything is not as the catalogue says."""
    registries = PackageRegistries(PackageSettings())
    rows = []
    try:
        for server in shipped_servers():
            if not slugs or server.slug in slugs:
                rows.append(
                    [
                        server.slug,
                        server.version or "-",
                        await _package(registries, server),
                        await _start(server),
                    ]
                )
    finally:
        await registries.close()
    show("The catalogue of known servers", ["server", "version", "package", "start"], rows)
    return int(any(cell.startswith("WRONG") for row in rows for cell in row))


async def _package(registries: PackageRegistries, server: KnownServer) -> str:
    if server.registry is None or server.package is None:
        return "remote"
    question = PackageQuestion(registry=server.registry, name=server.package, version=server.version)
    found = await registries.look_up(question)
    if found.exists is None:
        return f"unknown: {found.reason}"
    if not found.exists or (server.version is not None and found.version is None):
        return f"WRONG: {found.reason or 'no such version'}"
    if found.withdrawn:
        return "WRONG: withdrawn"
    return "ok" if server.version in {None, found.latest} else f"ok; latest {found.latest}"


async def _start(server: KnownServer) -> str:
    if not server.offline or server.command is None:
        return "-"
    run = StdioServerParameters(command=server.command, args=server.args, env=dict(os.environ))
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            stdio_client(run) as streams,
            ClientSession(*streams) as session,
        ):
            await session.initialize()
            listed = {tool.name for tool in (await session.list_tools()).tools}
    except Exception as error:  # whatever it fails by, it is not as the catalogue says
        return f"WRONG: {type(error).__name__}"
    differing = listed ^ {tool.name for tool in server.tools}
    return (
        f"WRONG: tools differ: {', '.join(sorted(differing))[:80]}" if differing else f"{len(listed)} tools"
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
