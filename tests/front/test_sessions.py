"""Sessions of older clients: what outlives a gateway process, and what ends them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.app import create_app
from mcp_platform.gateway_settings import GatewaySettings
from mcp_platform.names import Channel
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import Message
from tests.front import raw
from tests.front.asking import asking_server
from tests.front.raw import Session
from tests.gateway.conftest import Platform, running_platform, serving, settings_for
from tests.gateway.upstreams import stub
from tests.runner.conftest import until
from tests.waiting import PATIENCE


def with_redis(settings: Settings, url: str | None) -> Settings:
    """Keep what is short-lived in a Redis, if there is one."""
    return settings.model_copy(update={"cache": CacheSettings(url=url)}) if url else settings


def changed(settings: Settings, **gateway: Any) -> Settings:
    """Give settings with other values for the gateway."""
    own: GatewaySettings = settings.gateway.model_copy(update=gateway)
    return settings.model_copy(update={"gateway": own})


@asynccontextmanager
async def another(platform: Platform) -> AsyncIterator[str]:
    """Run one more gateway process beside the first; its address."""
    app = create_app(platform.settings)
    async with serving(app) as url:

        async def knows() -> bool:
            return len(app.state.gateway._routes.all) == len(platform.gateway._routes.all)

        await until(knows)
        yield url


@pytest.fixture(params=["embedded", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return with_redis(settings_for(tmp_path), url)


async def test_a_session_outlives_the_gateway_that_opened_it(settings: Settings) -> None:
    async with stub() as server:
        async with running_platform(settings) as platform:
            await platform.deploy("acting", server.url)
            session = Session(platform.address("acting"), platform.key)
            await session.open()
            assert (await session.call("act")).status == 200
        app = create_app(settings)
        async with serving(app) as url:
            again = session.at(f"{url}/mcp/acting/v1")
            answer = await again.call("act")
            assert (answer.status, answer.result["content"][0]["type"]) == (200, "text")
            assert answer.headers["Mcp-Session-Id"] == session.id


async def test_any_gateway_process_serves_a_session_until_one_of_them_ends_it(
    tmp_path: Path, redis_url: str
) -> None:
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with stub() as server, running_platform(settings) as platform:
        await platform.deploy("acting", server.url)
        async with another(platform) as url:
            session = Session(platform.address("acting"), platform.key)
            await session.open()
            there = session.at(f"{url}/mcp/acting/v1")
            assert [(await each.call("act")).status for each in (session, there)] == [200, 200]
            assert await there.end() == 200

            async def ended() -> bool:
                return (await session.call("act")).status == 404

            await until(ended)
            assert (await there.call("act")).status == 404


async def test_a_call_is_cancelled_by_whichever_process_hears_of_it(tmp_path: Path, redis_url: str) -> None:
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with stub() as server, running_platform(settings) as platform:
        await platform.deploy("acting", server.url)
        async with another(platform) as url:
            session = Session(platform.address("acting"), platform.key)
            await session.open()
            hanging = {"name": "act", "arguments": {"do": "hang"}}
            message = {"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": hanging}
            call = asyncio.create_task(post(session, message))

            async def begun() -> bool:
                return server.count("tools/call") == 1

            await until(begun)
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}}
            assert (await post(session.at(f"{url}/mcp/acting/v1"), note)).status == 202
            async with asyncio.timeout(10):
                answer = await call
                assert answer.message["id"] == "slow"
                assert "cancelled" in answer.message["error"]["message"]
                await server.cancelled.wait()


async def test_a_session_that_nobody_uses_ends(settings: Settings) -> None:
    async with stub() as server, running_platform(changed(settings, session_idle_timeout=4.0)) as platform:
        await platform.deploy("acting", server.url)
        session, streaming = (Session(platform.address("acting"), platform.key) for _ in range(2))
        await session.open()
        await streaming.open()
        async with streaming.stream():

            async def ended() -> bool:
                await asyncio.sleep(5.5)  # each look is a use; what has ended is dropped within a second
                return (await session.ask("ping")).status == 404

            await until(ended)
            # One whose client listens is in use.
            assert (await streaming.ask("ping")).status == 200


async def test_one_account_cannot_take_all_sessions(settings: Settings) -> None:
    async with stub() as server, running_platform(changed(settings, most_sessions_of_one=2)) as platform:
        await platform.deploy("acting", server.url)
        own = [Session(platform.address("acting"), platform.key) for _ in range(3)]
        assert [(await each.open()).status for each in own] == [200, 200, 503]
        refused = await own[2].open()
        assert refused.headers["Retry-After"]
        assert "2 sessions of this caller are open already" in str(refused.message)
        other = await platform.add_user()
        theirs = Session(platform.address("acting"), (await platform.add_key(other))[1])
        assert (await theirs.open()).status == 200
        assert await own[0].end() == 200
        assert (await own[2].open()).status == 200


async def test_a_session_is_for_its_user_and_its_endpoint(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        await platform.deploy("other", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        stranger = session.at(session.url)
        stranger.headers = {
            **session.headers,
            "X-API-Key": (await platform.add_key(await platform.add_user()))[1],
        }
        assert (await stranger.ask("ping")).status == 404
        assert (await session.at(platform.address("other")).ask("ping")).status == 404
        assert (await session.ask("ping")).status == 200


async def test_the_newest_stream_of_a_session_takes_the_place_of_the_one_before(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        async with session.stream(), session.stream():
            live = platform.gateway._front.sessions._live[session.id]
            assert live.stream is not None
            assert (await session.ask("ping")).status == 200

        async def closed() -> bool:
            return live.stream is None

        await until(closed)


async def test_what_a_request_changes_outlives_a_reading_that_began_before(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session = Session(platform.address("asking"), platform.key, {"elicitation": {}})
        await session.open()
        sessions = platform.gateway._front.sessions
        held, get = sessions._live[session.id].data, sessions._store.get
        read, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(number: str) -> str | None:
            text = await get(number)
            read.set()
            await go_on.wait()
            return text

        async def answer(event: dict[str, Any]) -> None:
            # The call has opened a session of its own at the server, and is kept once it is answered.
            go_on.set()
            await reading
            result = {"action": "accept", "content": {"n": 1}}
            await post(session, {"jsonrpc": "2.0", "id": event["id"], "result": result})

        monkeypatch.setattr(sessions._store, "get", slowly)
        told = Message(Channel.SESSIONS, {"changed": session.id})  # as another process says it
        reading = asyncio.create_task(sessions.hear(told))
        async with asyncio.timeout(PATIENCE):
            await read.wait()
            assert (await session.call("ask", {}, answer)).result["content"][0]["text"] == "1"
        kept = orjson.loads(await get(session.id) or "")
        assert list(held.upstream_sessions.values()) == list(kept["upstream_sessions"].values()) != []


async def test_a_process_reads_anew_what_others_have_changed_and_not_what_it_has_itself(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with asking_server() as server, running_platform(settings) as platform:
        await platform.deploy("asking", server.url)
        async with another(platform) as url:
            here, there = (Session(platform.address("asking"), platform.key) for _ in range(2))
            sessions, read = platform.gateway._front.sessions, []
            for session in (here, there):
                await session.open()
            get = sessions._store.get

            async def noting(number: str) -> str | None:
                read.append(number)
                return await get(number)

            monkeypatch.setattr(sessions._store, "get", noting)
            assert (await here.ask("logging/setLevel", {"level": "info"})).status == 200
            there = there.at(f"{url}/mcp/asking/v1")
            assert (await there.ask("logging/setLevel", {"level": "error"})).status == 200

            async def known() -> bool:
                return sessions._live[there.id].data.log_level == "error"

            await until(known)
            assert set(read) == {there.id}


async def post(session: Session, message: dict[str, Any]) -> raw.Answer:
    """Post a message of the caller's making in a session."""
    return await raw.post(session.url, message, session.headers)
