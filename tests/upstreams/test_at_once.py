"""Two things at the same moment: what one opens, closes or gives up is never what another uses."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from gateway.authorization.upstream import AuthorizedUpstream
from gateway.upstreams import http as client
from gateway.upstreams import legs
from gateway.upstreams.connection import Broken, Connection, Response, Unreachable
from gateway.upstreams.exchange import Exchange
from gateway.upstreams.http import Http, Site
from gateway.upstreams.legacy import HttpSession
from gateway.upstreams.sessions import Profile, SessionRefused
from gateway.upstreams.upstream import Target
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.wire import Era
from tests.upstreams.conftest import LIMITS, Desk, Recorder, call, modern, own_call, session_of, text, until
from tests.upstreams.odd import Caller, odd
from tests.upstreams.older import Older
from tests.upstreams.test_failures import EVENTS, keeps_silent
from tests.waiting import PATIENCE


async def fine(caller: Caller) -> None:
    """Answer."""
    await caller.answer("{}")


async def streams(caller: Caller) -> None:
    """Begin a stream, and say nothing in it."""
    await caller.send(EVENTS)
    await asyncio.sleep(60)


def get(http: Http, url: str, timeout: float | None = PATIENCE) -> Any:
    """Send a request."""
    return http.send(Site(url, {}, private=True), "GET", b"", None, LIMITS, timeout)


async def test_a_connection_that_is_made_while_all_are_closed_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving, go_on = asyncio.Event(), asyncio.Event()
    allowed = client._allowed

    async def slowly(origin: client.Origin) -> list[str]:
        resolving.set()
        await go_on.wait()
        return await allowed(origin)

    monkeypatch.setattr(client, "_allowed", slowly)
    async with odd(fine) as server:
        http = Http()
        sending = asyncio.create_task(get(http, server.url))
        await asyncio.wait_for(resolving.wait(), PATIENCE)
        await http.close()
        go_on.set()
        with pytest.raises(Unreachable):
            await sending
        assert http.open == 0
        await until(lambda: server.open == 0)


async def test_who_waits_for_an_answer_is_told_when_its_connection_is_closed() -> None:
    async with odd(keeps_silent) as server:
        http = Http()
        sending = asyncio.create_task(get(http, server.url, None))
        await until(lambda: bool(server.lines))
        await http.close()
        with pytest.raises(Broken):
            await asyncio.wait_for(sending, PATIENCE)


async def test_who_reads_a_stream_is_told_when_its_connection_is_closed() -> None:
    async with odd(streams) as server:
        http = Http()
        response: Response = await get(http, server.url, None)
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        await http.close()
        with pytest.raises(Broken):
            await asyncio.wait_for(reading, PATIENCE)


async def test_a_call_that_is_left_as_its_answer_comes_leaves_the_connection_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with odd(fine) as server:
        http = Http()
        tasks: list[asyncio.Task[Response]] = []
        received = Connection.data_received

        def at_once(self: Connection, data: bytes) -> None:
            monkeypatch.undo()
            tasks.append(asyncio.create_task(get(http, server.url)))  # it runs before who waits
            received(self, data)
            tasks[0].cancel()

        monkeypatch.setattr(Connection, "data_received", at_once)
        tasks.append(asyncio.create_task(get(http, server.url)))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(tasks[0], PATIENCE)
        assert (await asyncio.wait_for(tasks[1], PATIENCE)).body == b"{}"
        assert server.connections == 1
        await http.close()


async def test_a_way_that_is_opened_while_the_upstream_is_closed_is_closed(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    opening = server.hold("notifications/initialized")
    describing = asyncio.create_task(upstream.describe(PATIENCE))
    await until(lambda: "notifications/initialized" in server.waiting)
    await upstream.close()
    opening.set()
    with pytest.raises(Unreachable):
        await describing
    await until(lambda: not server.sessions)


async def test_who_failed_on_a_former_way_does_not_close_the_present_one(
    desk: Desk, server: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = desk.open(server.url)
    await upstream.describe(PATIENCE)
    former = upstream._leg
    assert former is not None
    failing = asyncio.Event()

    async def refused(*_: Any) -> dict[str, Any]:
        await failing.wait()
        raise SessionRefused("The MCP server lost its session and opens no other")

    monkeypatch.setattr(former, "request", refused)
    late = asyncio.create_task(call(upstream, "who", Era.LEGACY))
    await asyncio.sleep(0)
    upstream._leg = None  # as when another call has failed on it before
    await call(upstream, "who", Era.LEGACY)
    present = upstream._leg
    failing.set()
    with pytest.raises(SessionRefused):
        await late
    assert upstream._leg is present
    await former.close()


async def test_all_who_wait_until_an_upstream_is_idle_are_told(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    held = server.hold("tools/list")
    listing = asyncio.create_task(upstream.request("tools/list", None, Era.LEGACY, PATIENCE))
    await until(lambda: "tools/list" in server.waiting)
    waiting = [asyncio.create_task(upstream.until_idle(10 * PATIENCE)) for _ in range(2)]
    await asyncio.sleep(0)
    held.set()
    await listing
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)


async def test_a_stream_that_took_anothers_place_hears_what_the_session_wants(
    desk: Desk, server: Older
) -> None:
    upstream = desk.open(server.url)
    session, channel = session_of(sampling={}), Recorder()
    await own_call(upstream, session)
    own = server.sessions[session.upstream_sessions[upstream.address.replica_id]]
    former = asyncio.create_task(upstream.listen(session, channel))
    await until(lambda: len(own.streams) == 1)
    present = asyncio.create_task(upstream.listen(session, channel))
    await until(lambda: len(own.streams) == 2)
    former.cancel()
    await asyncio.gather(former, return_exceptions=True)
    await upstream.request(
        "resources/subscribe", {"uri": "memo://one"}, Era.LEGACY, PATIENCE, session=session
    )
    await until(lambda: server.opened_streams >= 3)  # it begins anew
    present.cancel()
    await asyncio.gather(present, return_exceptions=True)


async def test_a_request_waits_for_the_stream_that_took_anothers_place(desk: Desk, server: Older) -> None:
    exchange = Exchange(desk.http, server.url, {}, LIMITS)
    session = HttpSession(exchange, Profile({}), desk.spawn)
    await session.open()
    channel = Recorder()
    former = asyncio.create_task(session.hear(channel))
    await until(lambda: server.streams == 1)
    held = server.hold("GET")
    present = asyncio.create_task(session.hear(channel))
    await until(lambda: "GET" in server.waiting)
    former.cancel()
    await asyncio.gather(former, return_exceptions=True)
    assert session._listening is not None
    assert not session._listening.is_set()
    held.set()
    await until(session._listening.is_set)
    present.cancel()
    await asyncio.gather(present, return_exceptions=True)


@pytest.mark.parametrize("era", [Era.LEGACY, Era.MODERN])
async def test_one_more_session_than_there_is_room_for_is_opened_while_all_are_in_use(
    desk: Desk, server: Older, monkeypatch: pytest.MonkeyPatch, era: Era
) -> None:
    monkeypatch.setattr(legs, "_MOST_SHARED", 2)
    monkeypatch.setattr(legs, "_MOST_OWN", 2)
    upstream = desk.open(server.url)
    await upstream.describe(PATIENCE)
    held = server.hold("tools/call")

    async def one(number: int) -> str:
        params: dict[str, Any] = {"name": "who", "arguments": {}}
        if era is Era.MODERN:
            headers = {"Authorization": f"Bearer {number}"}
            return text(await upstream.request("tools/call", modern(params), era, PATIENCE, headers=headers))
        return await own_call(upstream, session_of(sampling={}))

    calls = [asyncio.create_task(one(number)) for number in range(4)]
    await until(lambda: server.waiting.count("tools/call") == 4 or any(each.done() for each in calls))
    held.set()
    assert len(set(await asyncio.gather(*calls))) == 4


async def test_nothing_is_opened_for_a_credential_once_its_upstream_is_closed(
    desk: Desk, server: Older
) -> None:
    async def target() -> Target:
        return Target(server.url, {})

    address = UpstreamAddress(replica_id=uuid4(), url=server.url, driver=Driver.REMOTE, server="one")
    held = SimpleNamespace(of=lambda *_: "Bearer theirs")
    route = SimpleNamespace(mcp_id=uuid4(), slug="x")
    upstream = AuthorizedUpstream(
        cast(Any, held), cast(Any, route), address, desk.http, target, LIMITS, desk.spawn
    )
    session = session_of(sampling={})
    session.user_id = uuid4()
    session.upstream_sessions[address.replica_id] = "known"
    await upstream.close()
    with pytest.raises(Unreachable):
        await upstream.request(
            "tools/list", None, Era.LEGACY, PATIENCE, headers={"Authorization": "Bearer theirs"}
        )
    with pytest.raises(Unreachable):
        await upstream.listen(session, Recorder())
    await upstream.forget(session)
    assert not server.initialized
