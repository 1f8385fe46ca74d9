"""Rate limits, as clients meet them, at one process and at several."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from mcp_platform.names import RouteClass
from mcp_platform.settings import CacheSettings, LimitSettings, RateSettings
from tests.platform import Caller, RunningPlatform, free_port, quick_settings, running_platform
from tests.waiting import PATIENCE, in_one_task

LIMITS = LimitSettings(anonymous=60, user=40, admin=70, classes={RouteClass.WRITE: RateSettings(admin=5)})


@pytest.fixture
async def pair(
    tmp_path_factory: pytest.TempPathFactory,
    redis_url: str,
    temporal_environment: WorkflowEnvironment,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[list[RunningPlatform]]:
    """Give two API processes' worth of platform, on one database and one Redis."""
    # However slow the machine is: neither of them counts alone, nor asks Redis for the same once more.
    monkeypatch.setattr("storage.cache.limits._PATIENCE", PATIENCE)
    monkeypatch.setattr("storage.cache.connection._TIMEOUT", PATIENCE)
    cache = CacheSettings.model_validate({"url": redis_url})
    first = quick_settings(tmp_path_factory.mktemp("limits")).model_copy(
        update={"limits": LIMITS, "cache": cache}
    )
    second = first.model_copy(update={"api": first.api.model_copy(update={"port": free_port()})})
    client = temporal_environment.client
    async with (
        in_one_task(running_platform(first, client, with_worker=False)) as one,
        in_one_task(running_platform(second, client, with_worker=False)) as other,
    ):
        await one.parts.stores.cache.flushall()
        yield [one, other]


async def crowd(callers: list[Caller], path: str, times: int) -> list[httpx.Response]:
    """Ask with fifty clients at once, each of them so many times."""

    async def client(number: int) -> list[httpx.Response]:
        return [await callers[number % len(callers)].get(path) for _ in range(times)]

    return [answer for some in await asyncio.gather(*(client(n) for n in range(50))) for answer in some]


async def test_fifty_clients_at_two_processes_are_served_exactly_the_limit(
    pair: list[RunningPlatform],
) -> None:
    member = await pair[0].member("viewer")
    elsewhere = pair[1].caller()
    elsewhere.headers["Authorization"] = member.headers["Authorization"]
    answers = await crowd([member, elsewhere], "/api/v1/mcps", 2)
    assert Counter(answer.status_code for answer in answers) == {200: 40, 429: 60}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error_code"] == "RATE_LIMIT_EXCEEDED"
    assert 1 <= refused.json()["retry_after"] <= 10
    assert refused.headers["Retry-After"] == str(refused.json()["retry_after"])
    left = sorted(int(a.headers["X-RateLimit-Remaining"]) for a in answers if a.status_code == 200)
    assert left == list(range(40))
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"40"}


async def test_each_credential_and_each_class_of_routes_has_a_bucket_of_its_own(
    pair: list[RunningPlatform],
) -> None:
    here = pair[0]
    admin, member = await here.admin(), await here.member("developer")
    assert Counter(a.status_code for a in await crowd([admin], "/api/v1/mcps", 2)) == {200: 70, 429: 30}
    order = {"name": "x", "slug": "limits-x", "version": "1.0.0", "config": {}}
    assert (await admin.post("/api/v1/mcps", json=order)).headers["X-RateLimit-Limit"] == "5"
    seen = await member.get("/api/v1/mcps")
    assert (seen.status_code, seen.headers["X-RateLimit-Remaining"]) == (200, "39")
    call = await admin.post("/mcp/none/v1/tools/none", json={})
    assert (call.status_code, call.headers["X-RateLimit-Remaining"]) == (404, "69")


async def test_a_caller_without_a_credential_that_holds_is_counted_by_address(
    pair: list[RunningPlatform],
) -> None:
    nobody, liar = pair[0].caller(), pair[1].caller()
    liar.headers["Authorization"] = "Bearer nonsense"
    answers = await crowd([nobody, liar], "/api/v1/mcps", 2)
    assert Counter(answer.status_code for answer in answers) == {401: 60, 429: 40}
    for path in ("/health", "/metrics"):
        assert "X-RateLimit-Limit" not in (await nobody.get(path)).headers
