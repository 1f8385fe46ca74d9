"""The platform as production runs it: each part a process of its own, on real stores."""

import base64
import secrets
import signal
from collections.abc import Mapping
from uuid import uuid4

import httpx

from mcp_platform.settings import Settings, SqlSettings
from tests.end_to_end.programs import (
    QUICK,
    START_PATIENCE,
    Ended,
    Running,
    replicas_of,
    run,
)
from tests.platform import ADMIN_PASSWORD, Caller, free_port
from tests.waiting import eventually

PARTS = ("api", "gateway", "worker")


class Production:
    """Parts that share stores and a namespace.

    Args:
        sql_url: An empty database.
        mongo_url: A MongoDB-protocol server.
        redis_url: A Redis server.
        temporal_address: A Temporal server, on which a namespace of our own is made.
    """

    def __init__(self, sql_url: str, mongo_url: str, redis_url: str, temporal_address: str) -> None:
        self.api_port = free_port()
        self.gateway_port = free_port()
        self.instance_id = Settings(sql=SqlSettings(url=sql_url)).instance_id
        self.environment = QUICK | {
            "MCP_PLATFORM_MODE": "production",
            "MCP_PLATFORM_SQL__URL": sql_url,
            "MCP_PLATFORM_DOCUMENTS__URL": mongo_url,
            "MCP_PLATFORM_DOCUMENTS__DATABASE": f"production-{uuid4().hex}",
            "MCP_PLATFORM_CACHE__URL": redis_url,
            "MCP_PLATFORM_TEMPORAL__ADDRESS": temporal_address,
            "MCP_PLATFORM_TEMPORAL__NAMESPACE": f"production-{uuid4().hex}",
            "MCP_PLATFORM_SECURITY__MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "MCP_PLATFORM_ADMIN__PASSWORD": ADMIN_PASSWORD,
            "MCP_PLATFORM_API__PORT": str(self.api_port),
            "MCP_PLATFORM_GATEWAY__PORT": str(self.gateway_port),
            "MCP_PLATFORM_REPLICAS__PROCESS_DRIVER": "true",
        }
        self._running: dict[str, Running] = {}
        self._callers: list[Caller] = []

    async def command(self, *arguments: str, **environment: str) -> Ended:
        """Run a command to its end."""
        return await run(*arguments, **self.environment | environment)

    async def start(self, *parts: str) -> None:
        """Start parts, and wait until they do their work."""
        for part in parts:
            self._running[part] = await Running.start(part, **self.environment)
        for part in parts:
            await self._begun(part)

    async def restore(self) -> None:
        """Start what does not run, because a test that failed left it so."""
        dead = [part for part in PARTS if part not in self._running or not self._running[part].alive]
        await self.start(*dead)

    async def kill(self, part: str) -> None:
        """Kill a part, without a warning."""
        await self._running[part].close()

    async def stop(self, part: str) -> Ended:
        """Ask a part to end, as a container engine does."""
        ended = await self._running[part].stop(signal.SIGTERM)
        await self._running[part].close()
        return ended

    async def kill_worker(self) -> None:
        """Kill the worker, and wait until the replicas that it started are gone too, by themselves."""
        await self.kill("worker")
        await eventually(self._replicas, lambda living: not living, within=5.0)

    async def admin(self) -> Caller:
        """Give the administrator, signed in at the API."""
        caller = self._caller(self.api_port)
        await caller.sign_in("admin", ADMIN_PASSWORD)
        return caller

    def at_gateway(self, caller: Caller) -> Caller:
        """Give the same person at the gateway."""
        other = self._caller(self.gateway_port)
        other.headers.update(caller.headers)
        return other

    async def close(self) -> None:
        """End everything."""
        for caller in self._callers:
            await caller.aclose()
        for running in self._running.values():
            await running.close()
        await eventually(self._replicas, lambda living: not living, within=5.0)

    def _caller(self, port: int) -> Caller:
        caller = Caller(f"http://127.0.0.1:{port}")
        self._callers.append(caller)
        return caller

    async def _replicas(self) -> Mapping[str, object]:
        return replicas_of(self.instance_id)

    async def _begun(self, part: str) -> None:
        running = self._running[part]
        port = {"api": self.api_port, "gateway": self.gateway_port}.get(part)

        async def begun() -> bool:
            assert running.alive, running.stderr[-3000:]
            if port is None:
                return '"worker_started"' in running.stderr
            try:
                async with httpx.AsyncClient(trust_env=False) as http:
                    return (await http.get(f"http://127.0.0.1:{port}/health")).status_code in {200, 503}
            except httpx.TransportError:
                return False

        await eventually(begun, within=START_PATIENCE)
