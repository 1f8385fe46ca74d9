"""What servers of the older protocol say outside of calls, and who hears it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.upstreams.upstream import Upstream
from tests.upstreams.conftest import ASKABLE, Desk, Recorder, own_call, session_of, until
from tests.upstreams.older import Older
from tests.waiting import PATIENCE


@asynccontextmanager
async def watching(upstream: Upstream, heard: list[str]) -> AsyncIterator[asyncio.Task[None]]:
    """Watch while the block runs."""
    task = asyncio.create_task(upstream.watch(heard.append))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_changes_of_lists_are_heard_by_one_stream_for_all(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    one: list[str] = []
    other: list[str] = []
    async with watching(upstream, one), watching(upstream, other):
        await until(lambda: len(one) == len(other) == 1)  # the stream is open
        await server.tell("notifications/tools/list_changed")
        await server.tell("notifications/message")
        await until(lambda: len(one) == len(other) == 2)
        server.cut()  # what may have been missed is told before the stream is opened again, and after
        await until(lambda: len(one) == len(other) == 4)
        await until(lambda: server.streams == 1)
        await server.tell("notifications/tools/list_changed")
        await until(lambda: len(one) == len(other) == 5)
    assert set(one) == {"notifications/tools/list_changed"}
    await until(lambda: server.streams == 0)
    async with watching(upstream, one) as task:
        await until(lambda: server.streams == 1)
        await upstream.close()
        await asyncio.wait_for(task, PATIENCE)


async def test_who_watches_is_told_once_the_stream_is_open_what_may_have_changed_before(
    desk: Desk, server: Older
) -> None:
    opening = server.hold("GET")
    upstream = desk.open(server.url)
    one: list[str] = []
    other: list[str] = []
    async with watching(upstream, one):
        await until(lambda: server.waiting == ["GET"])
        assert one == []
        opening.set()
        await until(lambda: one == ["notifications/tools/list_changed"])
        async with watching(upstream, other):  # by the stream that is open already
            await until(lambda: other == one)
        assert len(one) == server.opened_streams == 1


async def test_a_server_that_does_not_tell_is_not_listened_to(desk: Desk, server: Older) -> None:
    server.tells = False
    upstream = desk.open(server.url)
    await asyncio.wait_for(upstream.watch(lambda _: None), PATIENCE)
    assert server.opened_streams == 0


async def test_a_session_hears_what_is_said_outside_of_calls(desk: Desk, server: Older) -> None:
    upstream, channel = desk.open(server.url), Recorder()
    session = session_of(channel, **ASKABLE)
    name = await own_call(upstream, session)
    listener = asyncio.create_task(upstream.listen(session))
    await until(lambda: server.streams == 1)
    await server.tell("notifications/message", name, data="hello")
    assert (await channel.hears("notifications/message"))["params"] == {"data": "hello"}
    answer = await server.ask("roots/list", name)
    assert answer["result"]["roots"]
    assert (await server.ask("ping", name))["result"] == {}
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_session_is_heard_once_the_server_has_seen_its_former_stream_end(
    desk: Desk, server: Older
) -> None:
    upstream, channel = desk.open(server.url), Recorder()
    session = session_of(channel, **ASKABLE)
    name = await own_call(upstream, session)
    server.busy = True
    listener = asyncio.create_task(upstream.listen(session))
    await until(lambda: server.conflicts > 0)
    server.busy = False
    await until(lambda: bool(server.sessions[name].streams))
    await server.tell("notifications/resources/updated", name, uri="a:b")
    assert (await channel.hears("notifications/resources/updated"))["params"] == {"uri": "a:b"}
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_session_is_listened_for_as_soon_as_there_is_a_place(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    sessions = [session_of(Recorder(), **ASKABLE) for _ in range(2)]
    for session in sessions:
        await own_call(upstream, session)
    desk.http.most = 2
    first = asyncio.create_task(upstream.listen(sessions[0]))
    await until(lambda: server.streams == desk.http.lasting.open == 1)
    desk.http.most = 3
    second = asyncio.create_task(upstream.listen(sessions[1]))
    await asyncio.wait({second}, timeout=0.3)
    assert (server.opened_streams, second.done()) == (1, False)
    desk.http.most = 100
    await until(lambda: server.streams == desk.http.lasting.open == 2)
    for listener in (first, second):
        listener.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert desk.http.lasting.open == 0
