"""`mcp-platform up`: API, gateway and worker in one process, Temporal as its child."""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack

import httpx
import psutil
from rich.console import Console

from api.app import create_app
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.first_admin import PASSWORD_FILE, FirstAdmin, ensure_admin
from mcp_platform.cli.record import RunRecord, remove_record, write_record
from mcp_platform.cli.serving import listening_socket, serving, told_to_stop
from mcp_platform.cli.temporal_program import find_or_get
from mcp_platform.cli.temporal_server import TemporalServer
from mcp_platform.connection import connect_temporal
from mcp_platform.security.keys import load_master_key
from mcp_platform.settings import Mode, Settings
from storage.sql.migrate import migrate
from storage.stores import open_stores
from worker.app import running_worker

_READY_PATIENCE = 30.0


async def run_embedded(settings: Settings, *, as_json: bool) -> None:
    """Run everything until a signal; afterwards nothing of it is left running.

    Raises:
        Failure: A port is taken, or the data directory cannot be written.
        TemporalUnavailable: Temporal's server cannot be had or started.
    """
    console = Console(stderr=as_json)
    started = time.monotonic()
    if settings.mode is not Mode.EMBEDDED:
        raise Failure("`up` is the embedded mode; in production start `api`, `gateway` and `worker`")
    _prepare_data_dir(settings)
    with told_to_stop() as stop:
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(listening_socket(settings.api.host, settings.api.port, "--port"))
            load_master_key(settings)
            program = await find_or_get(settings.temporal, console.print)
            temporal = await stack.enter_async_context(
                TemporalServer(
                    program,
                    settings.data_dir,
                    port=settings.temporal.port,
                    ui_port=settings.temporal.ui_port,
                )
            )
            await migrate(settings.sql_url)
            client = await connect_temporal(temporal.address, settings.temporal)
            stores = await stack.enter_async_context(open_stores(settings))
            admin = await ensure_admin(settings, stores, choose_password=True)
            await stack.enter_async_context(running_worker(settings, client, stores))
            await stack.enter_async_context(serving(create_app(settings, client), listener))
            if await _ready(settings, stop):
                stack.callback(remove_record, settings.data_dir)
                _announce(settings, admin, console, as_json, time.monotonic() - started)
                await stop.wait()
                console.print("Stopping …")


def _prepare_data_dir(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = settings.data_dir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Failure(
            f"the data directory {settings.data_dir} cannot be written ({error.strerror});"
            " choose another with --data-dir"
        ) from None


async def _ready(settings: Settings, stop: asyncio.Event) -> bool:
    """Wait until every part answers; False if told to stop before."""
    health: dict[str, object] = {}
    async with httpx.AsyncClient(trust_env=False) as http:
        deadline = time.monotonic() + _READY_PATIENCE
        while time.monotonic() < deadline and not stop.is_set():
            answer = await http.get(f"{settings.api_url}/health", timeout=5)
            health = answer.json()
            if answer.status_code == 200:
                return True
            await asyncio.sleep(0.05)
    if stop.is_set():
        return False
    raise Failure(f"not everything answers after {_READY_PATIENCE:.0f} s: {json.dumps(health.get('parts'))}")


def _announce(
    settings: Settings, admin: FirstAdmin | None, console: Console, as_json: bool, seconds: float
) -> None:
    me = psutil.Process()
    write_record(
        settings.data_dir,
        RunRecord(
            pid=me.pid,
            started=me.create_time(),
            api=settings.api_url,
            temporal_ui=settings.temporal_ui_url,
        ),
    )
    if as_json:
        line = {"event": "ready", "api": settings.api_url, "temporal_ui": settings.temporal_ui_url}
        if admin:
            line["admin_username"] = admin.username
        if admin and admin.chosen_password:
            line["admin_password"] = admin.chosen_password
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return
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
