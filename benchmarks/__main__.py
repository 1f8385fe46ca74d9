"""`python -m benchmarks [name] …`: those named; without a name all but the long ones."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks import api, deployments, knowledge, sockets, workflows
from benchmarks.analysis import evaluation
from benchmarks.gateway import comparison, sessions, soak
from benchmarks.servers import Platform, running_platform

Benchmark = Callable[[Platform, argparse.Namespace], Awaitable[None]]

ALL: dict[str, Benchmark] = {
    "api": lambda platform, _: api.run(platform),
    "deployments": lambda platform, _: deployments.run(platform),
    "gateway": lambda platform, given: comparison.run(platform, given.rounds),
    "knowledge": lambda platform, _: knowledge.run(platform),
    "sockets": lambda platform, _: sockets.run(platform),
    "workflows": lambda platform, _: workflows.run(platform),
}
LONG: dict[str, Benchmark] = {
    "analysis": lambda platform, _: evaluation.run(platform),
    "sessions": lambda platform, _: sessions.run(platform),
    "soak": lambda platform, given: soak.run(platform, given.minutes),
}


async def main() -> None:
    """Run the benchmarks against one platform of their own, in a temporary folder."""
    known = ALL | LONG
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=comparison.ROUNDS, help="of `gateway`")
    parser.add_argument("--minutes", type=float, default=soak.MINUTES, help="of `soak`")
    given = parser.parse_args()
    names = given.names or list(ALL)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        async with running_platform(Path(folder)) as platform:
            for name in names:
                await known[name](platform, given)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    os._exit(0)  # Temporal's SDK may crash at the interpreter's own exit (sdk-python#300)
