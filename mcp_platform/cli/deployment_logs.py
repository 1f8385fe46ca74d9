"""`mcp-platform deployments logs`: what replicas wrote, and what they write now."""

import asyncio
import json
import re
import sys
import time
from typing import Any, Final

import httpx
from rich.console import Console
from rich.text import Text

from mcp_platform.cli.api_client import KEY_VARIABLE, ApiClient, api_client
from mcp_platform.cli.deployments import find, plain
from mcp_platform.cli.failure import Failure
from mcp_platform.settings import Settings

_STYLES: Final = {"error": "red", "warning": "yellow", "debug": "dim"}
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_MOST: Final = 5_000
_AWAY: Final = 30.0
"""Seconds for which a follower tries to come back."""
_RETRY: Final = 0.5


async def show_logs(
    settings: Settings,
    url: str | None,
    name: str,
    asked: dict[str, Any],
    limit: int,
    follow: bool,
    as_json: bool,
) -> int:
    """Print the newest lines, the oldest of them first; then, if asked for, those that come."""
    printer = _Printer(as_json)
    asked = {key: value for key, value in asked.items() if value is not None}
    async with api_client(settings, url) as api:
        path = f"/api/v1/deployments/{(await find(api, name))['deployment_id']}/logs"
        if follow:
            await _follow(api, f"{path}/stream", asked | {"limit": limit}, printer)
        else:
            await _print_newest(api, path, asked, limit, printer)
    return 0


class _Printer:
    """Prints lines: for people in columns, for programs each as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(soft_wrap=True, highlight=False, markup=False)

    def lines(self, lines: list[dict[str, Any]]) -> None:
        """Print lines."""
        for line in lines:
            if self._as_json:
                print(json.dumps(line, ensure_ascii=False))
                continue
            text = plain(_COLOURS.sub("", line["text"]))
            place = f"{line['ordinal']}/{line['revision']}"
            self._console.print(
                Text.assemble(
                    (f"{line['at'][:23]}Z ", "dim"),
                    (f"{place:<5} ", "cyan"),
                    (f"{line['level']:<7} ", _STYLES.get(line["level"], "")),
                    text,
                )
            )
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell something about the lines, where programs do not take it for one."""
        print(f"mcp-platform: {text}", file=sys.stderr, flush=True)


async def _print_newest(
    api: ApiClient, path: str, asked: dict[str, Any], limit: int, printer: _Printer
) -> None:
    lines: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.get(path, limit=min(limit - len(lines), _MOST), **asked, **cursor)
        lines = page["lines"] + lines
        if page["next"] is None or len(lines) >= limit:
            break
        # The search took long, and found fewer: it goes on where it was.
        cursor = {"cursor": page["next"]}
    printer.lines(lines)
    if page["truncated"]:
        printer.note(
            f"these are the newest {len(lines)} lines; --limit shows more, --since and --search other"
        )


async def _follow(api: ApiClient, path: str, asked: dict[str, Any], printer: _Printer) -> None:
    last_id: str | None = None
    away_since: float | None = None
    while True:
        try:
            async for event in api.events(path, asked, last_id):
                last_id, away_since = event.id or last_id, None
                match event.kind:
                    case "logs":
                        printer.lines(event.data["lines"])
                    case "missed":
                        place, size = event.data["ordinal"], event.data["bytes"]
                        printer.note(f"replica {place}: {size} bytes were removed before they could be read")
                    case "end":
                        printer.note("the deployment is stopped; there will be no more lines")
                        return
                    case "error" if not await api.renew():
                        raise Failure(
                            f"{event.data['detail']}; set {KEY_VARIABLE} to a key of yours that holds"
                        )
        except httpx.HTTPError as error:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > _AWAY:
                raise api.unreachable(error) from None
        await asyncio.sleep(_RETRY)
