"""The tasks extension (SEP-2663), as far as the suite asks for it: tools that answer later."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import mcp_types as types
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult

from tests.conformance import offers
from tests.conformance.asking import MODERN, Context

EXTENSION: Final = "io.modelcontextprotocol/tasks"
_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_HEADER_MISMATCH: Final = -32020
_REQUIRED: Final = frozenset({"failing_job", "test_tool_with_task"})
"""Tools that are of no use to a client without the extension."""
_SHORT: Final = 0.3
_DONE: Final[dict[str, Any]] = {"resultType": "complete"}


class Job:
    """One task, as the client may ask for it."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self.status = "working"
        self.outcome: dict[str, Any] = {}
        self.pending: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.work: asyncio.Task[None]
        self._created = datetime.now(UTC).isoformat()
        self._answered = asyncio.Event()

    def shown(self) -> dict[str, Any]:
        """Give the fields that every answer about it has."""
        times = {"createdAt": self._created, "lastUpdatedAt": self._created}
        waiting = {"inputRequests": self.pending} if self.pending else {}
        return {
            "taskId": self.id,
            "status": "input_required" if self.pending else self.status,
            **times,
            "ttlMs": 60_000,
            "pollIntervalMs": 100,
            **waiting,
            **self.outcome,
        }

    async def ask(self, *names: str) -> dict[str, Any]:
        """Wait for the client's answers to these questions."""
        keys = {name: f"{name}-{uuid4().hex[:8]}" for name in names}
        self.pending = {
            key: offers.form(f"{name}?", confirm={"type": "boolean"}) for name, key in keys.items()
        }
        await self._answered.wait()
        return {name: self.answers[key] for name, key in keys.items()}

    def answer(self, given: dict[str, Any]) -> None:
        """Take some of the answers."""
        for key in self.pending.keys() & given.keys():
            self.answers[key] = given[key]
            del self.pending[key]
        if not self.pending:
            self._answered.set()

    async def run(
        self, work: Callable[["Job", dict[str, Any]], Awaitable[str]], given: dict[str, Any]
    ) -> None:
        """Do the work, and note how it ended."""
        try:
            words = await work(self, given)
            self.status, self.outcome = "completed", {"result": _result(words)}
        except ToolFailure as failure:
            self.status, self.outcome = "completed", {"result": {**_result(str(failure)), "isError": True}}
        except ProtocolFailure as failure:
            self.status, self.outcome = "failed", {"error": {"code": -32603, "message": str(failure)}}
        except asyncio.CancelledError:
            self.pending = {}
            self.status = "cancelled"


class ToolFailure(Exception):
    """The tool ran, and says that it failed."""


class ProtocolFailure(Exception):
    """The server broke."""


class Jobs:
    """Serves the tools that answer later, and the methods about their tasks."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def serve(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer what concerns tasks, and let all else pass."""
        params = dict(ctx.params or {})
        if ctx.protocol_version != MODERN:
            return await call_next(ctx)
        if ctx.method in ("tasks/get", "tasks/update", "tasks/cancel"):
            _check_negotiated(params)
            return await self._about(ctx, params)
        work = _WORK.get(str(params.get("name"))) if ctx.method == "tools/call" else None
        if work is None:
            return await call_next(ctx)
        return await self._call(str(params["name"]), work, params)

    async def _about(self, ctx: Context, params: dict[str, Any]) -> HandlerResult:
        number = params.get("taskId")
        named = ctx.request.headers.get("mcp-name") if ctx.request is not None else number
        if named != number:
            raise MCPError(_HEADER_MISMATCH, "Mcp-Name does not match params.taskId")
        job = self._jobs.get(str(number))
        if job is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown task: {number}")
        if ctx.method == "tasks/update":
            job.answer(params.get("inputResponses") or {})
        if ctx.method == "tasks/cancel":
            job.work.cancel()
            with suppress(asyncio.CancelledError):
                await job.work
        return {**_DONE, **job.shown()} if ctx.method == "tasks/get" else dict(_DONE)

    async def _call(self, name: str, work: Any, params: dict[str, Any]) -> HandlerResult:
        if not _negotiated(params):
            if name in _REQUIRED:
                _check_negotiated(params)
            return {**_DONE, **_result(await work(Job(), params))}
        if name == "test_tool_with_task" and not params.get("inputResponses"):
            asked = {"user_name": offers.form("What is your name?", name={"type": "string"})}
            return {"resultType": "input_required", "inputRequests": asked}
        job = Job()
        self._jobs[job.id] = job
        job.work = asyncio.create_task(job.run(work, params))
        return {"resultType": "task", **job.shown()}


async def _greet_later(job: Job, params: dict[str, Any]) -> str:
    await asyncio.sleep(_SHORT)
    return f"Hello, {params['inputResponses']['user_name']['content']['name']}!"


async def _slow_compute(job: Job, params: dict[str, Any]) -> str:
    await asyncio.sleep(float((params.get("arguments") or {}).get("seconds", 0)))
    return "computed"


async def _fail(job: Job, params: dict[str, Any]) -> str:
    await asyncio.sleep(_SHORT)
    raise ToolFailure("the job failed")


async def _break(job: Job, params: dict[str, Any]) -> str:
    raise ProtocolFailure("the server broke")


async def _confirm(job: Job, params: dict[str, Any]) -> str:
    return str(await job.ask("confirm"))


async def _ask_twice(job: Job, params: dict[str, Any]) -> str:
    return str(await job.ask("first", "second"))


_WORK: Final[dict[str, Callable[[Job, dict[str, Any]], Awaitable[str]]]] = {
    "slow_compute": _slow_compute,
    "failing_job": _fail,
    "protocol_error_job": _break,
    "confirm_delete": _confirm,
    "multi_input": _ask_twice,
    "test_tool_with_task": _greet_later,
}


def _result(words: str) -> dict[str, Any]:
    return {"content": [offers.text(words)]}


def _negotiated(params: dict[str, Any]) -> bool:
    declared = (params.get("_meta") or {}).get(_CAPABILITIES) or {}
    return EXTENSION in (declared.get("extensions") or {})


def _check_negotiated(params: dict[str, Any]) -> None:
    if not _negotiated(params):
        required: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        message = "This needs the tasks extension"
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, required)
