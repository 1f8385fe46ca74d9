"""`mcp-platform deployments`: list, describe and restart them."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mcp_platform.cli.api_client import ApiClient, api_client
from mcp_platform.cli.failure import Failure
from mcp_platform.settings import Settings

_PATH: Final = "/api/v1/deployments"
_POLL: Final = 0.5
_COLOURS: Final = {
    "running": "green",
    "healthy": "green",
    "active": "green",
    "stopped": "dim",
    "idle": "dim",
    "failed": "red",
    "unhealthy": "red",
    "degraded": "yellow",
    "rolled_back": "yellow",
}
_ROOMY: Final = 110
"""Columns of a terminal in which names and ages have room beside what is needed."""
_BAD: Final = frozenset({"failed", "unhealthy", "degraded", "rolled_back"})


async def list_deployments(settings: Settings, url: str | None, everything: bool, as_json: bool) -> int:
    """Print a table of those that are not stopped, or of all."""
    async with api_client(settings, url) as api:
        found = (await api.get(_PATH))["deployments"]
    shown = [each for each in found if everything or each["status"] != "stopped"]
    if as_json:
        print(json.dumps(shown))
        return 0
    console = Console()
    # An id is to be copied: whatever else is narrow, it stays whole.
    whole = Column("id", no_wrap=True, min_width=36)
    slug, status = Column("slug", overflow="fold"), Column("status", no_wrap=True)
    roomy = console.width >= _ROOMY
    more = ("name", "deployed") if roomy else ()
    table = Table(slug, status, Column("health", no_wrap=True), *more, whole)
    for each in shown:
        said = (Text(plain(each["tool_name"])), f"{_ago(each['deployed_at'])} ago") if roomy else ()
        table.add_row(
            Text(_slug_of(each)),
            _coloured(each["status"]),
            _coloured(each["health_status"]),
            *said,
            Text(each["deployment_id"], style="dim", no_wrap=True, overflow="fold"),
        )
    console.print(table if shown else "There are no deployments; --all shows those that were stopped, too.")
    return 0


async def describe_deployment(settings: Settings, url: str | None, name: str, as_json: bool) -> int:
    """Print all that is known of one deployment, in words; 1 if it is not well."""
    async with api_client(settings, url) as api:
        found = await find(api, name)
    if as_json:
        print(json.dumps(found))
    else:
        _describe(Console(), found)
    return 1 if found["status"] in _BAD else 0


async def restart_deployment(
    settings: Settings, url: str | None, name: str, wait: bool, patience: float, as_json: bool
) -> int:
    """Have every replica replaced; 1 if that was waited for and did not come to pass."""
    async with api_client(settings, url) as api:
        deployment_id = (await find(api, name))["deployment_id"]
        started = await api.post(f"{_PATH}/{deployment_id}/restart")
        if not wait:
            print(
                json.dumps(started) if as_json else f"{started['message']} (revision {started['revision']})"
            )
            return 0
        found = await _followed(api, deployment_id, started["revision"], patience, quiet=as_json)
    rollout = found["rollout"]
    done = rollout["state"] in {"active", "superseded"}
    if as_json:
        print(json.dumps(found))
    elif done:
        print(f"restarted: {rollout['replaced']} of {rollout['total']} replicas are new and answer")
    else:
        print(f"mcp-platform: not restarted: {plain(rollout['reason'] or found['status'])}", file=sys.stderr)
    return 0 if done else 1


async def find(api: ApiClient, name: str) -> dict[str, Any]:
    """Find a deployment by its id or its slug; of several with one slug that which is not stopped.

    Raises:
        Failure: There is none.
    """
    try:
        deployment_id = str(UUID(name))
    except ValueError:
        listed = (await api.get(_PATH))["deployments"]
        same = [each for each in listed if _slug_of(each) == name]
        if not same:
            raise Failure(
                f"no deployment has the slug or id {name!r};"
                " mcp-platform deployments list --all shows those that there are"
            ) from None
        living = [each for each in same if each["status"] != "stopped"]
        deployment_id = (living or same)[0]["deployment_id"]
    return await api.get(f"{_PATH}/{deployment_id}")


async def _followed(
    api: ApiClient, deployment_id: str, revision: int, patience: float, quiet: bool
) -> dict[str, Any]:
    """Watch a roll-out to its end."""
    deadline = time.monotonic() + patience
    told = ""
    while True:
        found = await api.get(f"{_PATH}/{deployment_id}")
        rollout = found["rollout"] or {}
        if rollout.get("revision", 0) >= revision and rollout["state"] != "pending":
            return found
        if found["status"] == "stopped":
            raise Failure(f"the deployment was stopped meanwhile: {found['reason'] or 'nobody says why'}")
        begun = rollout.get("revision", 0) >= revision
        said = f"{rollout['replaced']} of {rollout['total']} replicas replaced" if begun else "it is begun"
        if said != told and not quiet:
            told = said
            print(said, flush=True)
        if time.monotonic() > deadline:
            raise Failure(
                f"not done after {patience:g} s: {said}, status {found['status']}; it goes on:"
                f" mcp-platform deployments describe {deployment_id}"
            )
        await asyncio.sleep(_POLL)


def _describe(console: Console, found: dict[str, Any]) -> None:
    healthy = sum(replica["state"] == "healthy" for replica in found["replicas"])
    console.print(
        Text.assemble(
            (plain(found["tool_name"]), "bold"), f" ({found['slug']}) is ", _coloured(found["status"])
        ),
        f"{healthy} of {found['replicas_wished']} replicas answer",
        sep=": ",
    )
    rows = {
        "reason": found["reason"],
        "runs": f"version {found['version']} as revision {found['revision']},"
        f" by the {found['driver']} driver, in {found['environment']}",
        "roll-out": _rollout(found["rollout"]),
        "calls": _calls(found["metrics"]),
        "uses": _usage(found["metrics"]),
        "endpoint": found["endpoint_url"],
        "id": found["deployment_id"],
        "workflow": found["workflow_id"],
    }
    for name, text in rows.items():
        if text:
            console.print(Text.assemble((f"{name:>10}  ", "dim"), plain(text)), soft_wrap=True)
    # In a narrow terminal its lines go on in the next one; cut off, they would lack the address.
    console.print(_replica_table(found["replicas"]), crop=False)
    for replica in found["replicas"]:
        # One that is being started again still has the words of the one before.
        if replica["reason"] and replica["state"] != "healthy":
            console.print(
                Text(plain(f"replica {replica['ordinal']}: {replica['reason']}"), style="red"), soft_wrap=True
            )
            for line in replica["stderr_tail"][-5:]:
                console.print(Text(plain(f"    {line}")), soft_wrap=True)
    console.print(f"Its log: mcp-platform deployments logs {found['slug']}", style="dim", soft_wrap=True)


def _replica_table(replicas: list[dict[str, Any]]) -> Table:
    table = Table(
        *("place", "revision", Column("state", no_wrap=True), "restarts", "up", "calls", "p95", "cores"),
        *("memory", Column("address", overflow="fold", min_width=22)),
    )
    for replica in replicas:
        figures = replica["metrics"]
        table.add_row(
            str(replica["ordinal"]),
            str(replica["revision"]),
            _coloured(replica["state"]),
            str(replica["restarts"]),
            _span(figures["uptime_seconds"]),
            f"{figures['requests_total']:,}",
            _milliseconds(figures["p95_ms"]),
            _cores(figures["cpu_cores"]),
            _memory(figures["memory_bytes"]),
            Text(plain(replica["url"] or "")),
        )
    return table


def _rollout(rollout: dict[str, Any] | None) -> str:
    if rollout is None:
        return ""
    state = {"pending": "goes on", "active": "done", "failed": "failed", "superseded": "done"}
    words = state.get(rollout["state"], rollout["state"])
    because = f" ({rollout['reason']})" if rollout["reason"] else ""
    building = ", its image is being built" if rollout["building"] else ""
    return (
        f"{rollout['cause']} to revision {rollout['revision']} ({rollout['version']}) {words}{because}:"
        f" {rollout['replaced']} of {rollout['total']} replaced{building},"
        f" begun {_ago(rollout['started_at'])} ago"
    )


def _calls(figures: dict[str, Any]) -> str:
    count = figures["requests_total"]
    if not count:
        return "none so far"
    took = ", ".join(
        f"{share} within {_milliseconds(figures[name])}"
        for share, name in (("half", "p50_ms"), ("95 %", "p95_ms"), ("99 %", "p99_ms"))
        if figures[name] is not None
    )
    return f"{count:,}, of which {figures['error_rate']:.2%} failed" + (f"; {took}" if took else "")


def _usage(figures: dict[str, Any]) -> str:
    cores, memory = _cores(figures["cpu_cores"]), _memory(figures["memory_bytes"])
    used = f"{cores} cores and {memory}; " if cores or memory else ""
    up = figures["uptime_seconds"]
    answering = f"answering for {_span(up)}" if up else "not answering"
    return f"{used}{answering}; {figures['restarts']} restarts"


def plain(text: str) -> str:
    """Take out what would steer the terminal: this text is somebody else's."""
    return "".join(letter if letter.isprintable() or letter == "\t" else "�" for letter in text)


def _coloured(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, "cyan"))


def _slug_of(found: dict[str, Any]) -> str:
    parts = urlsplit(found["endpoint_url"]).path.split("/")
    return parts[-2] if len(parts) > 2 else ""


def _ago(moment: str) -> str:
    return _span((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def _span(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} ms" if value < 1_000 else f"{value / 1_000:.3g} s"


def _cores(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _memory(value: int | None) -> str:
    return "" if value is None else f"{value / 1_048_576:.0f} MB"
