"""Asking an evaluation's requests of a platform."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from benchmarks.analysis.requests import Request
from benchmarks.servers import Platform
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.known_servers import shipped_servers

_PATIENCE: Final = 600.0
_ENDED: Final = {"completed", "failed", "cancelled"}


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    request: Request
    generated: dict[str, Any] | None
    """None where no configuration was written; `error` says why."""
    error: str | None
    feasible: bool | None
    score: float | None
    engines: frozenset[str]

    @property
    def valid(self) -> bool:
        """Whether there is a configuration, and it holds."""
        if self.generated is None:
            return False
        try:
            return bool(McpConfig.model_validate(self.generated["config"]).servers)
        except ValidationError:
            return False

    @property
    def chosen(self) -> str | None:
        """The known server that the configuration runs."""
        servers = (self.generated or {"config": {}})["config"].get("servers") or [{}]
        return _KNOWN.get(_identity(servers[0]))

    @property
    def right(self) -> bool:
        """Whether it is one of the right servers."""
        return self.chosen in self.request.servers

    @property
    def trial(self) -> str | None:
        """What came of starting it."""
        checks = (self.generated or {}).get("verified", [])
        return next((each["outcome"] for each in checks if each["what"] == "trial"), None)


def _identity(server: dict[str, Any]) -> tuple[str, ...]:
    return (server.get("url") or "", server.get("command") or "", *server.get("args", []))


_KNOWN: Final = {_identity(server.config()["servers"][0]): server.slug for server in shipped_servers()}


async def ask(platform: Platform, request: Request, engine: str) -> Answer:
    """Have a request judged, and a configuration written for it."""
    verdict = await _outcome(platform, "/analyze/feasibility", {"config": request.idea, "engine": engine})
    written = await _outcome(platform, "/analyze/generate-config", {**request.wanted, "engine": engine})
    judged = verdict.get("result") or {}
    generated = written.get("result")
    return Answer(
        request=request,
        generated=generated,
        error=written.get("error"),
        feasible=judged.get("is_feasible"),
        score=judged.get("score"),
        engines=frozenset(each["engine"] for each in (judged, generated or {}) if "engine" in each),
    )


async def _outcome(platform: Platform, path: str, body: dict[str, Any]) -> dict[str, Any]:
    task = await platform.ask("POST", path, body)
    async with asyncio.timeout(_PATIENCE):
        while True:
            seen = await platform.ask("GET", f"/tasks/{task['task_id']}")
            if seen["status"] in _ENDED:
                return seen
            await asyncio.sleep(0.2)
