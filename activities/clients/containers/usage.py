"""What containers use."""

import json
from typing import Any

from activities.clients.docker_engine import DockerEngine
from activities.drivers import DriverUnavailable, ReplicaFault, Usage


async def measured(engine: DockerEngine, container: str) -> Usage | None:
    """Measure a container; None if it is gone, or the engine away.

    One sample, at once: the engine would else wait a second for a second one.
    """
    try:
        path, query = f"/containers/{container}/stats", {"stream": "false", "one-shot": "true"}
        async with engine.stream(path, query, silence=engine.settings.timeout) as answer:
            stats: dict[str, Any] = json.loads(await answer.read())
    except (LookupError, DriverUnavailable, ReplicaFault, TimeoutError):
        return None
    return usage_of(stats)


def usage_of(stats: dict[str, Any]) -> Usage | None:
    """Read the engine's figures; None for a container that does not run."""
    used = (stats.get("memory_stats") or {}).get("usage")
    if used is None:
        return None
    details = stats["memory_stats"].get("stats") or {}
    # Files that the kernel keeps in memory while nobody else wants it: by the old and the new cgroups.
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    nanoseconds = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return Usage(nanoseconds / 1e9, max(0, used - cached))
