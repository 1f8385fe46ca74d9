"""`mcp-platform demo`: a tour of what runs, on a real MCP server, with live progress."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import httpx2
import psutil
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from mcp_platform.cli.data_dir import admin_password
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.record import read_record
from mcp_platform.names import REPLICA_MARKER
from mcp_platform.settings import Settings

_PATIENCE = 30.0
_CLEANING_PATIENCE = 10.0
_FINAL = {"completed", "failed", "cancelled"}
_TOOL = "get_current_time"
_ARGUMENTS = {"timezone": "Asia/Shanghai"}
_IDEA = {
    "name": "Time zone tool",
    "description": "Tells the current time in any time zone, and converts times between zones.",
    "requirements": {"network_access": False, "read_only": True},
}


class Tour:
    """The steps of the demo, each of which prints what it saw or raises a `Failure`."""

    def __init__(self, http: httpx.AsyncClient, console: Console, workflows: str) -> None:
        self._http = http
        self._console = console
        self._workflows = workflows
        self._token = ""
        self._made: list[str] = []
        self._creating: list[asyncio.Task[dict[str, Any]]] = []

    async def sign_in(self, username: str, password: str) -> None:
        """Trade the password for a token."""
        order = {"username": username, "password": password}
        try:
            answer = await self._call("POST", "/api/v1/auth/login", order)
        except Failure as failure:
            advice = f"is MCP_PLATFORM_ADMIN__PASSWORD set to the password of {username!r}?"
            raise Failure(f"{failure}; {advice}") from None
        self._token = answer["access_token"]
        self._http.headers.update(self._credential)
        self._say(f"signed in as {username}; the token holds for {answer['expires_in']} s")

    async def register(self) -> dict[str, Any]:
        """Register the real `mcp-server-time` under a new slug."""
        order = {
            "name": "Time",
            "slug": f"time-{uuid4().hex[:6]}",
            "version": "1.0.0",
            "description": "The reference time server, from PyPI, over stdio",
            "config": {
                "servers": [
                    {"name": "time", "command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}
                ]
            },
        }
        mcp = await self._create("/api/v1/mcps", order, "id")
        self._say(f"registered [bold]{mcp['slug']}[/] {mcp['version']} ({mcp['status']})")
        return mcp

    async def judge(self) -> None:
        """Start a feasibility analysis and watch it over the WebSocket."""
        task = await self._call("POST", "/api/v1/analyze/feasibility", {"config": _IDEA})
        update = await self._watch_task(task["task_id"])
        if update["status"] != "completed":
            raise Failure(f"the analysis {update['status']}: {update.get('error')}")
        result = update["result"]
        self._say(f"feasible: {result['is_feasible']}, score {result['score']}. {result['reasoning']}")
        self._link(task["task_id"])

    async def _watch_task(self, task_id: str) -> dict[str, Any]:
        """Follow a task over the WebSocket to its end."""
        address = f"{self._http.base_url}".replace("http", "ws", 1).rstrip("/")
        with self._progress() as bar:
            line = bar.add_task("queued", total=100)
            async with (
                asyncio.timeout(_PATIENCE),
                connect(f"{address}/ws?token={quote(self._token)}") as socket,
            ):
                await socket.send(json.dumps({"type": "subscribe", "task_id": task_id}))
                async for message in socket:
                    update: dict[str, Any] = json.loads(message)
                    if update["type"] == "error":
                        raise Failure(f"the task cannot be watched: {update['detail']}")
                    bar.update(line, completed=update["progress"], description=update["message"])
                    if update["status"] in _FINAL:
                        return update
        raise Failure("the platform closed the WebSocket before the analysis was done")

    async def deploy(self, mcp: dict[str, Any]) -> dict[str, Any]:
        """Deploy two replicas and watch until both are healthy."""
        order = {"tool_id": mcp["id"], "config": {"replicas": 2}}
        deployment = await self._create("/api/v1/deployments", order, "deployment_id")
        seconds, deployment = await self._watch(deployment["deployment_id"], "two replicas are starting", 2)
        pids = " and ".join(str(replica["pid"]) for replica in deployment["replicas"])
        self._say(f"running and healthy after {seconds:.1f} s: processes {pids}")
        self._link(deployment["workflow_id"])
        return deployment

    async def call_by_mcp(self, endpoint: str) -> None:
        """List and call tools with the official client."""
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                httpx2.AsyncClient(headers=self._credential) as http,
                Client(streamable_http_client(endpoint, http_client=http)) as client,
            ):
                tools = await client.list_tools()
                started = time.perf_counter()
                result = await client.call_tool(_TOOL, _ARGUMENTS)
                milliseconds = (time.perf_counter() - started) * 1000
        except (MCPError, httpx2.HTTPError, ExceptionGroup) as error:
            raise Failure(f"the official MCP client failed at {endpoint}: {_innermost(error)}") from None
        if result.is_error:
            raise Failure(f"{_TOOL} failed: {_text(result)}")
        self._say(f"official MCP client: {', '.join(tool.name for tool in tools.tools)}")
        self._say(f"{_TOOL} → {_text(result)}  ({milliseconds:.0f} ms)")

    async def call_by_rest(self, endpoint: str) -> None:
        """Call the same tool by plain REST."""
        answer = await self._call("POST", f"{endpoint}/tools/{_TOOL}", _ARGUMENTS)
        self._say(f"plain REST: {json.dumps(answer)}")

    async def kill_one(self, deployment: dict[str, Any]) -> None:
        """Kill a replica the hard way, and see it come back while calls go on."""
        victim = deployment["replicas"][0]
        process = _process_of(victim)
        if process is None:
            self._say("left out: the replicas do not run on this machine, or not under this user")
            return
        with suppress(psutil.NoSuchProcess):
            process.kill()
        # A call that reaches it while it dies would be lost, and nobody could tell whether it was done.
        await asyncio.to_thread(process.wait, _PATIENCE)
        self._say(f"killed process {victim['pid']} with SIGKILL")
        path = f"{deployment['endpoint_url']}/tools/{_TOOL}"
        await self._call("POST", path, _ARGUMENTS)
        self._say("a call right after that was answered by the other replica")
        seconds, deployment = await self._watch(deployment["deployment_id"], "healing", 2, gone=victim["pid"])
        fresh = deployment["replicas"][0]
        self._say(f"healed after {seconds:.1f} s: process {fresh['pid']}, restarts: {fresh['restarts']}")

    async def stop(self) -> None:
        """Stop the deployment and remove the MCP."""
        while self._made:
            answer = await self._call("DELETE", self._made[-1])
            self._say(answer["message"])
            self._made.pop()

    async def clean_up(self) -> None:
        """Stop and remove what a failed tour leaves behind, as far as the platform still can."""
        with suppress(Failure, httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(_CLEANING_PATIENCE):
                await asyncio.gather(*self._creating, return_exceptions=True)
                await self.stop()

    async def _create(self, path: str, order: dict[str, Any], key: str) -> dict[str, Any]:
        """Make something that has to be removed again, also when we are interrupted before we hear of it."""

        async def create() -> dict[str, Any]:
            made = await self._call("POST", path, order)
            self._made.append(f"{path}/{made[key]}")
            return made

        creating = asyncio.create_task(create())
        self._creating.append(creating)
        return await asyncio.shield(creating)

    async def _watch(
        self, deployment_id: str, doing: str, wanted: int, gone: int | None = None
    ) -> tuple[float, dict[str, Any]]:
        started = time.monotonic()
        with self._progress() as bar:
            line = bar.add_task(doing, total=wanted)
            while time.monotonic() - started < _PATIENCE:
                seen = await self._call("GET", f"/api/v1/deployments/{deployment_id}")
                healthy = [replica for replica in seen["replicas"] if replica["state"] == "healthy"]
                bar.update(line, completed=len(healthy), description=f"{doing}: {seen['status']}")
                if seen["status"] == "failed":
                    raise Failure(f"the deployment failed: {seen['reason']}")
                replaced = gone not in {replica["pid"] for replica in healthy}
                if seen["status"] == "running" and len(healthy) == wanted and replaced:
                    return time.monotonic() - started, seen
                await asyncio.sleep(0.1)
        raise Failure(f"not healthy after {_PATIENCE:.0f} s: {seen['status']}, {seen['reason']}")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await self._http.request(method, path, json=body)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise Failure(f"{method} {path} answered {answer.status_code} without JSON") from None
        if answer.is_error:
            raise Failure(f"{method} {path} answered {answer.status_code}: {found.get('detail')}")
        return found

    @property
    def _credential(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("   {task.description:<44}"),
            BarColumn(20),
            TimeElapsedColumn(),
            console=self._console,
        )

    def _say(self, text: str) -> None:
        self._console.print(f"   {text}", highlight=False, soft_wrap=True)

    def _link(self, workflow_id: str) -> None:
        self._console.print(f"   [dim]{self._workflows}/{workflow_id}[/]", highlight=False, soft_wrap=True)


async def run_demo(settings: Settings, url: str | None, username: str | None) -> None:
    """Take the tour against the platform of the data directory, or at the given address.

    Raises:
        Failure: A step did not go as it should.
    """
    record = read_record(settings.data_dir)
    api = url or (record.api if record else None)
    if api is None:
        raise Failure(
            f"no platform runs on {settings.data_dir.absolute()}; start one in another terminal with: make up"
        )
    console = Console()
    temporal_ui = record.temporal_ui if record and not url else settings.temporal_ui_url
    workflows = f"{temporal_ui}/namespaces/{settings.temporal.namespace}/workflows"
    started = time.monotonic()
    try:
        async with httpx.AsyncClient(base_url=api, timeout=_PATIENCE, trust_env=False) as http:
            tour = Tour(http, console, workflows)
            try:
                await _take(tour, console, username or settings.admin.username, admin_password(settings))
            finally:
                await tour.clean_up()
    except (TimeoutError, psutil.TimeoutExpired):
        raise Failure(f"a step took longer than {_PATIENCE:.0f} s") from None
    except (httpx.HTTPError, WebSocketException, OSError) as error:
        raise Failure(f"the platform at {api} does not answer: {error or type(error).__name__}") from None
    console.print(f"[bold green]Done[/] in {time.monotonic() - started:.0f} s.", highlight=False)


async def _take(tour: Tour, console: Console, username: str, password: str) -> None:
    def title(number: int, text: str) -> None:
        console.print(f"[bold cyan]{number}. {text}[/]", highlight=False)

    title(1, "Sign in")
    await tour.sign_in(username, password)
    title(2, "Register an MCP: mcp-server-time from PyPI, over stdio")
    mcp = await tour.register()
    title(3, "Judge an idea, watched over WebSocket")
    await tour.judge()
    title(4, "Deploy it with two replicas")
    deployment = await tour.deploy(mcp)
    title(5, f"Call it at {deployment['endpoint_url']}")
    await tour.call_by_mcp(deployment["endpoint_url"])
    await tour.call_by_rest(deployment["endpoint_url"])
    title(6, "Kill a replica, and see it come back")
    await tour.kill_one(deployment)
    title(7, "Stop")
    await tour.stop()


def _process_of(replica: dict[str, Any]) -> psutil.Process | None:
    """Find a replica's process; the number alone proves nothing, as it may be another machine's."""
    try:
        process = psutil.Process(replica["pid"])
        mark = process.environ().get(REPLICA_MARKER, "")
    except psutil.Error:
        return None
    return process if mark.endswith(f"/{replica['id']}") else None


def _text(result: CallToolResult) -> str:
    """Give the text of a tool's answer in one line."""
    return " ".join(" ".join(str(getattr(block, "text", "")) for block in result.content).split())


def _innermost(error: BaseException) -> str:
    """Say what a group of errors is about: its first one, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error) or type(error).__name__).splitlines()[0]
