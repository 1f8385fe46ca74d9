"""`mcp-platform demo`: a tour of what runs, on a real MCP server, with live progress."""

import asyncio
import json
import os
import signal
import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from websockets.asyncio.client import connect

from mcp_platform.cli.failure import Failure
from mcp_platform.cli.first_admin import PASSWORD_FILE
from mcp_platform.cli.record import read_record
from mcp_platform.settings import Settings

_PATIENCE = 30.0
_TOOL = "get_current_time"
_ARGUMENTS = {"timezone": "Asia/Shanghai"}
_IDEA = {
    "name": "Time zone tool",
    "description": "Tells the current time in any time zone, and converts times between zones.",
    "requirements": {"network_access": False, "read_only": True},
}


class Tour:
    """The steps of the demo, each of which prints what it saw or raises a `Failure`."""

    def __init__(self, http: httpx.AsyncClient, console: Console, temporal_ui: str | None) -> None:
        self._http = http
        self._console = console
        self._temporal_ui = temporal_ui
        self._token = ""

    async def sign_in(self, username: str, password: str) -> None:
        """Trade the password for a token."""
        answer = await self._call("POST", "/api/v1/auth/login", {"username": username, "password": password})
        self._token = answer["access_token"]
        self._http.headers["Authorization"] = f"Bearer {self._token}"
        self._say(f"signed in as {username}; the token holds for {answer['expires_in']} s")

    async def register(self) -> dict[str, Any]:
        """Register the real `mcp-server-time` under a new slug."""
        mcp = await self._call(
            "POST",
            "/api/v1/mcps",
            {
                "name": "Time",
                "slug": f"time-{uuid4().hex[:6]}",
                "version": "1.0.0",
                "description": "The reference time server, from PyPI, over stdio",
                "config": {
                    "servers": [
                        {"name": "time", "command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}
                    ]
                },
            },
        )
        self._say(f"registered [bold]{mcp['slug']}[/] {mcp['version']} ({mcp['status']})")
        return mcp

    async def judge(self) -> None:
        """Start a feasibility analysis and watch it over the WebSocket."""
        task = await self._call("POST", "/api/v1/analyze/feasibility", {"config": _IDEA})
        task_id = task["task_id"]
        address = str(self._http.base_url).replace("http", "ws", 1)
        update: dict[str, Any] = {}
        with self._progress() as bar:
            line = bar.add_task("queued", total=100)
            async with (
                asyncio.timeout(_PATIENCE),
                connect(f"{address}/ws?token={quote(self._token)}") as socket,
            ):
                await socket.send(json.dumps({"type": "subscribe", "task_id": task_id}))
                async for message in socket:
                    update = json.loads(message)
                    bar.update(line, completed=update["progress"], description=update["message"])
                    if update["status"] in {"completed", "failed", "cancelled"}:
                        break
        if update["status"] != "completed":
            raise Failure(f"the analysis {update['status']}: {update.get('error')}")
        result = update["result"]
        self._say(f"feasible: {result['is_feasible']}, score {result['score']}. {result['reasoning']}")
        self._link(task_id)

    async def deploy(self, mcp: dict[str, Any]) -> dict[str, Any]:
        """Deploy two replicas and watch until both are healthy."""
        order = {"tool_id": mcp["id"], "config": {"replicas": 2}}
        deployment = await self._call("POST", "/api/v1/deployments", order)
        seconds, deployment = await self._watch(deployment["deployment_id"], "two replicas are starting", 2)
        pids = " and ".join(str(replica["pid"]) for replica in deployment["replicas"])
        self._say(f"running and healthy after {seconds:.1f} s: processes {pids}")
        self._link(deployment["workflow_id"])
        return deployment

    async def call_by_mcp(self, endpoint: str) -> None:
        """List and call tools with the official client."""
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {self._token}"}) as http:
            async with asyncio.timeout(_PATIENCE):
                async with Client(streamable_http_client(endpoint, http_client=http)) as client:
                    tools = await client.list_tools()
                    started = time.perf_counter()
                    result = await client.call_tool(_TOOL, _ARGUMENTS)
                    milliseconds = (time.perf_counter() - started) * 1000
        text = " ".join(str(getattr(block, "text", "")) for block in result.content)
        self._say(f"official MCP client: {', '.join(tool.name for tool in tools.tools)}")
        self._say(f"{_TOOL} → {' '.join(text.split())}  ({milliseconds:.0f} ms)")

    async def call_by_rest(self, endpoint: str) -> None:
        """Call the same tool by plain REST."""
        answer = await self._call("POST", f"{endpoint}/tools/{_TOOL}", _ARGUMENTS)
        self._say(f"plain REST: {json.dumps(answer)}")

    async def kill_one(self, deployment: dict[str, Any]) -> None:
        """Kill a replica the hard way, and see it come back while calls go on."""
        victim = deployment["replicas"][0]
        os.kill(victim["pid"], signal.SIGKILL)
        self._say(f"killed process {victim['pid']} with SIGKILL")
        path = f"{deployment['endpoint_url']}/tools/{_TOOL}"
        await self._call("POST", path, _ARGUMENTS)
        self._say("a call right after that was answered by the other replica")
        seconds, deployment = await self._watch(deployment["deployment_id"], "healing", 2, gone=victim["pid"])
        fresh = deployment["replicas"][0]
        self._say(f"healed after {seconds:.1f} s: process {fresh['pid']}, restarts: {fresh['restarts']}")

    async def stop(self, deployment: dict[str, Any]) -> None:
        """Stop the deployment and remove the MCP."""
        answer = await self._call("DELETE", f"/api/v1/deployments/{deployment['deployment_id']}")
        self._say(answer["message"])
        await self._call("DELETE", f"/api/v1/mcps/{deployment['tool_id']}")

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
        if self._temporal_ui:
            link = f"{self._temporal_ui}/namespaces/default/workflows/{workflow_id}"
            self._console.print(f"   [dim]{link}[/]", highlight=False, soft_wrap=True)


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
    name = username or settings.admin.username
    password = _password(settings)
    console = Console()
    started = time.monotonic()
    try:
        async with httpx.AsyncClient(base_url=api, timeout=_PATIENCE, trust_env=False) as http:
            await _tour(Tour(http, console, record.temporal_ui if record else None), console, name, password)
    except TimeoutError:
        raise Failure(f"a step took longer than {_PATIENCE:.0f} s") from None
    except (httpx.HTTPError, OSError) as error:
        raise Failure(f"the platform at {api} does not answer: {error or type(error).__name__}") from None
    console.print(f"[bold green]Done[/] in {time.monotonic() - started:.0f} s.", highlight=False)


async def _tour(tour: Tour, console: Console, username: str, password: str) -> None:
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
    await tour.stop(deployment)


def _password(settings: Settings) -> str:
    if settings.admin.password:
        return settings.admin.password.get_secret_value()
    try:
        return (settings.data_dir / PASSWORD_FILE).read_text().strip()
    except OSError:
        raise Failure(
            f"no password: there is no {settings.data_dir / PASSWORD_FILE};"
            " set MCP_PLATFORM_ADMIN__PASSWORD to the administrator's"
        ) from None
