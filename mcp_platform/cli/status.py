"""`mcp-platform status`: what runs, how it is, and what memory it takes."""

from contextlib import suppress

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from mcp_platform.cli.record import read_record
from mcp_platform.names import REPLICA_MARKER
from mcp_platform.settings import Settings


async def show_status(settings: Settings) -> int:
    """Print a table; 0 if all is well, 1 if something is away, 3 if nothing runs."""
    console = Console()
    record = read_record(settings.data_dir)
    if record is None:
        console.print(f"No platform runs on {settings.data_dir.absolute()}; start one with: mcp-platform up")
        return 3
    healthy = await _print_parts(console, record.api)
    _print_memory(console, record.pid)
    return 0 if healthy else 1


async def _print_parts(console: Console, api: str) -> bool:
    table = Table(
        "part", "state", "answers in", "detail", title=f"MCP Platform at {api}", title_justify="left"
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = (await http.get(f"{api}/health", timeout=5)).json()
    except (httpx.HTTPError, ValueError) as error:
        console.print(f"[red]The API at {api} does not answer: {error or type(error).__name__}[/]")
        return False
    for name, part in answer["parts"].items():
        well = part["status"] == "healthy"
        latency = f"{part['latency_ms']} ms" if "latency_ms" in part else ""
        table.add_row(
            name, f"[{'green' if well else 'red'}]{part['status']}[/]", latency, part.get("detail", "")
        )
    console.print(table)
    return bool(answer["status"] == "healthy")


def _print_memory(console: Console, pid: int) -> None:
    table = Table("process", "count", "resident", title="Memory", title_justify="left")
    sizes: dict[str, list[int]] = {}
    with suppress(psutil.NoSuchProcess):
        me = psutil.Process(pid)
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):
                sizes.setdefault(_kind(process, pid), []).append(process.memory_info().rss)
    for kind, found in sizes.items():
        table.add_row(kind, str(len(found)), _megabytes(sum(found)))
    table.add_row("together", str(sum(map(len, sizes.values()))), _megabytes(sum(map(sum, sizes.values()))))
    console.print(table)


def _kind(process: psutil.Process, platform_pid: int) -> str:
    if process.pid == platform_pid:
        return "platform (API, gateway, worker)"
    return "replicas" if REPLICA_MARKER in process.environ() else "Temporal"


def _megabytes(size: int) -> str:
    return f"{size / 1_048_576:.0f} MB"
