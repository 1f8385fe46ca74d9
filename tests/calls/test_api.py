"""`GET /api/v1/calls`: who may read which lines of the journal."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from storage.sql.calls import call_id
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

_NUMBERS = count()


async def own_id(caller: Caller) -> UUID:
    """Give the account of a caller."""
    return UUID((await caller.get("/api/v1/auth/me")).json()["id"])


async def note(
    platform: RunningPlatform,
    mcp: dict[str, Any],
    user_id: UUID | None,
    *,
    tool: str = "forecast",
    outcome: str = "ok",
    ago: timedelta = timedelta(0),
) -> None:
    """Put a line into the journal."""
    row = (
        call_id((datetime.now(UTC) - ago).timestamp(), next(_NUMBERS), 7),
        UUID(mcp["id"]).hex,
        mcp["slug"],
        tool,
        None,
        None if user_id is None else user_id.hex,
        "public" if user_id is None else "key:1",
        "mcp",
        outcome,
        12.5,
        "r-1",
        None if outcome == "ok" else "UPSTREAM_TIMEOUT",
    )
    async with platform.parts.stores.write() as rows:
        await rows.calls.add([row])


async def lines(caller: Caller, **query: Any) -> list[dict[str, Any]]:
    """Read the journal."""
    answer = await caller.get("/api/v1/calls", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["calls"]
    return found


async def test_one_reads_ones_own_calls_and_those_of_ones_mcps_and_auditors_all(
    platform: RunningPlatform,
) -> None:
    owner, caller, other = [await platform.member() for _ in range(3)]
    admin = await platform.admin()
    mcp = await owner.register_mcp({"servers": []})
    foreign = await admin.register_mcp({"servers": []})
    who = await own_id(caller)
    await note(platform, mcp, who)
    await note(platform, mcp, None, tool="public-one")
    await note(platform, foreign, who, tool="elsewhere", outcome="failed")

    mine = {each["tool"]: each for each in await lines(caller)}
    assert set(mine) == {"forecast", "elsewhere"}
    line = mine["forecast"]
    assert line["user_id"] == str(who)
    assert line["username"] == (await caller.get("/api/v1/auth/me")).json()["username"]
    assert (line["mcp_id"], line["slug"], line["via"]) == (mcp["id"], mcp["slug"], "mcp")
    assert (line["outcome"], line["duration_ms"], line["request_id"]) == ("ok", 12.5, "r-1")
    assert (line["error_code"], mine["elsewhere"]["error_code"]) == (None, "UPSTREAM_TIMEOUT")
    assert not {"arguments", "result"} & set(line)
    assert {each["tool"] for each in await lines(owner)} == {"forecast", "public-one"}
    assert await lines(other) == []
    for query, tools in (
        ({"mcp": mcp["slug"]}, ["public-one", "forecast"]),
        ({"mcp": foreign["id"]}, ["elsewhere"]),
        ({"mcp": mcp["id"], "tool": "forecast"}, ["forecast"]),
        ({"user": str(who)}, ["elsewhere", "forecast"]),
        ({"user": line["username"], "outcome": "failed"}, ["elsewhere"]),
    ):
        assert [each["tool"] for each in await lines(admin, **query)] == tools


async def test_lines_are_read_page_by_page_within_a_time(platform: RunningPlatform) -> None:
    owner = await platform.member()
    mcp = await owner.register_mcp({"servers": []})
    for minutes in range(5):
        await note(platform, mcp, None, tool=f"t{minutes}", ago=timedelta(minutes=minutes))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await owner.get("/api/v1/calls", params=query)).json()
        seen += [each["tool"] for each in page["calls"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["t0", "t1", "t2", "t3", "t4"]
    since = (datetime.now(UTC) - timedelta(minutes=3, seconds=30)).isoformat()
    until = (datetime.now(UTC) - timedelta(minutes=1, seconds=30)).isoformat()
    assert [each["tool"] for each in await lines(owner, since=since, until=until)] == ["t2", "t3"]
    assert (await owner.get("/api/v1/calls", params={"cursor": "x"})).status_code == 422
    assert (await platform.caller().get("/api/v1/calls")).status_code == 401


async def test_the_embedded_platform_answers_the_bridge_and_its_health(platform: RunningPlatform) -> None:
    anybody = platform.caller()

    async def health() -> tuple[int, str]:
        answer = await anybody.get("/actuator/health")
        return answer.status_code, answer.json()["components"]["temporal"]["status"]

    # What it says of Temporal is what a worker saw lately.
    await eventually(health, lambda seen: seen == (200, "UP"))
    admin = await platform.admin()
    assert (await admin.get("/mcp/bridge/config")).status_code == 200
    refused = await anybody.get("/mcp/bridge/services")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")
