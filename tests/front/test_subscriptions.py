"""`subscriptions/listen` at an endpoint that several servers are behind."""

import asyncio
from typing import Any

import aiohttp
import pytest

from gateway.catalogue import PROMPTS_CHANGED
from gateway.front.answers import Answer
from tests.front.raw import ACCEPT, events, modern
from tests.groups.conftest import Groups, offering
from tests.waiting import PATIENCE

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


async def test_what_changes_while_a_subscription_is_acknowledged_is_told_after_that(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    await groups.serve(offering("files", "read"))
    await groups.make("team", "files")
    platform, event = groups.platform, Answer.event
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(answer: Answer, message: dict[str, Any]) -> None:
        if message["method"] == ACKNOWLEDGED:
            begun.set()
            await go_on.wait()
        await event(answer, message)

    monkeypatch.setattr(Answer, "event", slowly)
    message, headers = modern("subscriptions/listen", notifications={"promptsListChanged": True})
    headers |= {"X-API-Key": platform.key, "Accept": ACCEPT}
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        url = f"{platform.url}/mcp/group/team"
        opening = tasks.create_task(http.post(url, json=message, headers=headers))
        await begun.wait()
        news = platform.gateway.several.news
        news.policy_changed(groups.mcp_id("files"))  # its tools: nobody asked for that
        news._list_changed("files", PROMPTS_CHANGED)
        go_on.set()
        async with await opening as response:
            stream = events(response)
            heard = [(await anext(stream))["method"] for _ in range(2)]
    assert heard == [ACKNOWLEDGED, PROMPTS_CHANGED]
