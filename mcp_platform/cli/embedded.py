"""`mcp-platform up`: API, gateway and worker in one process, Temporal as its child."""

import asyncio
import json
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress

import httpx
import psutil
from rich.console import Console

from api.app import create_app
from mcp_platform.cli.data_dir import PASSWORD_FILE, prepare_data_dir
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.first_admin import FirstAdmin, ensure_admin
from mcp_platform.cli.record import RunRecord, remove_record, write_record
from mcp_platform.cli.serving import forever, listening_socket, run_until_told, serving, spare_collections
from mcp_platform.cli.temporal_program import find_or_get
from mcp_platform.cli.temporal_server import TemporalServer
from mcp_platform.cli.trouble import connect, told_plainly
from mcp_platform.security.keys import load_master_key
from mcp_platform.settings import Mode, Settings
from storage.sql.migrate import migrate
from storage.stores import open_stores
from worker.app import running_worker

_READY_PATIENCE = 60.0


async def run_embedded(settings: Settings, *, as_json: bool, began: float) -> None:
    """Run everything until a signal; afterwards nothing of it is left running.

    Args:
        settings: Where everything is.
        as_json: Whether to say in JSON that all is ready.
        began: When the command began, on the monotonic clock.

    Raises:
        Failure: A port is taken, or the data directory cannot be written.
        TemporalUnavailable: Temporal's server cannot be had or started.
    """
    if settings.mode is not Mode.EMBEDDED:
        raise Failure("`up` is the embedded mode; in production start `api`, `gateway` and `worker`")
    prepare_data_dir(settings)
    await run_until_told(_run(settings, as_json, began))


async def _run(settings: Settings, as_json: bool, began: float) -> None:
    console = Console(stderr=as_json)
    with told_plainly():
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(listening_socket(settings.api.host, settings.api.port, "--port"))
            load_master_key(settings)
            temporal = await _start_temporal(settings, console, stack)
            await migrate(settings.sql_url)
            client = await connect(temporal.address, settings)
            stores = await stack.enter_async_context(open_stores(settings))
            admin = await ensure_admin(settings, stores, choose_password=True)
            await stack.enter_async_context(running_worker(settings, client, stores))
            await stack.enter_async_context(serving(create_app(settings, client), listener))
            local = _local_address(listener)
            await _ready(local)
            spare_collections()
            stack.callback(remove_record, settings.data_dir)
            _record(settings, local)
            if as_json:
                _announce_as_json(settings, admin)
            else:
                _announce(settings, admin, console, time.monotonic() - began)
            stack.callback(console.print, "Stopping …")
            await forever()


async def _start_temporal(settings: Settings, console: Console, stack: AsyncExitStack) -> TemporalServer:
    program = await find_or_get(settings.temporal, console.print)
    own = settings.temporal
    server = TemporalServer(program, settings.data_dir, port=own.port, ui_port=own.ui_port)
    return await stack.enter_async_context(server)


def _local_address(listener: socket.socket) -> str:
    """Give the address under which this machine reaches the API, whatever its users call it."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _ready(address: str) -> None:
    """Wait until every part answers."""
    health: dict[str, object] = {}
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        deadline = time.monotonic() + _READY_PATIENCE
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                answer = await http.get(f"{address}/health")
                health = answer.json()
                if answer.status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise Failure(f"not everything answers after {_READY_PATIENCE:.0f} s: {json.dumps(health.get('parts'))}")


def _record(settings: Settings, address: str) -> None:
    me = psutil.Process()
    record = RunRecord(
        pid=me.pid, started=me.create_time(), api=address, temporal_ui=settings.temporal_ui_url
    )
    write_record(settings.data_dir, record)


def _announce_as_json(settings: Settings, admin: FirstAdmin | None) -> None:
    line = {"event": "ready", "api": settings.api_url, "temporal_ui": settings.temporal_ui_url}
    if admin:
        line["admin_username"] = admin.username
    if admin and admin.chosen_password:
        line["admin_password"] = admin.chosen_password
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _announce(settings: Settings, admin: FirstAdmin | None, console: Console, seconds: float) -> None:
    rows = [
        ("API", settings.api_url),
        ("Docs", f"{settings.api_url}/api/docs"),
        ("Temporal", settings.temporal_ui_url),
        ("Data", str(settings.data_dir.absolute())),
    ]
    if admin and admin.chosen_password:
        rows += [
            ("Sign in as", admin.username),
            ("Password", f"{admin.chosen_password}   (shown once; kept in {PASSWORD_FILE} beside the data)"),
        ]
    console.print(f"[bold green]The MCP Platform is ready[/] after {seconds:.1f} s. Ctrl-C stops it.")
    for label, value in rows:
        console.print(f"  [bold]{label:<11}[/] {value}", highlight=False, soft_wrap=True)
