"""`python -m benchmarks [name] …`: api, gateway, knowledge, sockets, workflows: all, unless named."""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import uvloop

from benchmarks import api, gateway, knowledge, sockets, workflows
from benchmarks.servers import running_platform

ALL = {
    "api": api.run,
    "gateway": gateway.run,
    "knowledge": knowledge.run,
    "sockets": sockets.run,
    "workflows": workflows.run,
}


async def main() -> None:
    """Run the benchmarks against one platform of their own, in a temporary folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(ALL)}")
    names = parser.parse_args().names or list(ALL)
    if unknown := sorted(set(names) - set(ALL)):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        async with running_platform(Path(folder)) as platform:
            for name in names:
                await ALL[name](platform)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    os._exit(0)  # Temporal's SDK may crash at the interpreter's own exit (sdk-python#300)
