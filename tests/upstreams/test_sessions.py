"""Sessions at servers of the older protocol: whose they are, and what becomes of them."""

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.requests import ClientSession
from gateway.upstreams.connection import Unreachable
from mcp_platform.contracts.deployments import UpstreamAddress
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import LOG_LEVEL_KEY, METHOD_NOT_FOUND, Era, RpcError
from tests.upstreams.conftest import (
    ASKABLE,
    INFO,
    Desk,
    Recorder,
    call,
    modern,
    own_call,
    session_of,
    text,
    until,
)
from tests.upstreams.odd import Caller, odd
from tests.upstreams.older import Older


async def test_clients_that_cannot_be_asked_share_a_session(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    names = {text(await call(upstream, "who", era)) for era in (Era.LEGACY, Era.MODERN) for _ in range(3)}
    names.add(await own_call(upstream, session_of()))
    assert len(names) == 1
    assert len(server.sessions) == 1
    await upstream.close()
    await until(lambda: not server.sessions)  # it is ended, and not left to the server's patience


async def test_a_client_that_can_be_asked_has_a_session_of_its_own(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    one, other = session_of(**ASKABLE), session_of(sampling={})
    names = {await own_call(upstream, one), await own_call(upstream, other), await own_call(upstream, one)}
    assert len(names) == 2
    opened = server.sessions[one.upstream_sessions[upstream.address.replica_id]]
    assert (opened.capabilities, opened.info) == (ASKABLE, INFO)
    assert one.changed
    await upstream.close()
    assert set(one.upstream_sessions.values()) | set(other.upstream_sessions.values()) <= set(server.sessions)


@pytest.mark.parametrize("method", ["tasks/list", "tasks/get", "tasks/result", "tasks/cancel", "tools/call"])
async def test_nobody_reaches_tasks_in_a_session_that_others_share(
    desk: Desk, server: Older, method: str
) -> None:
    upstream = desk.open(server.url)
    params = {"name": "who", "arguments": {}, "task": {}} if method == "tools/call" else {"taskId": "t"}
    for era, sent in ((Era.LEGACY, params), (Era.MODERN, modern(params))):
        with pytest.raises(RpcError) as refused:
            await upstream.request(method, sent, era, 5.0)
        assert refused.value.code == METHOD_NOT_FOUND
    session = session_of()
    await upstream.request(method, params, Era.LEGACY, 5.0, session=session)
    assert len(server.sessions) == 2, "the one that is shared, and the client's own"
    assert session.upstream_sessions


async def test_another_process_goes_on_with_the_session(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    first = await own_call(upstream, session)
    await upstream.close()
    address: UpstreamAddress = upstream.address
    again = desk.open(server.url, address=address)
    restored = ClientSession(**{name: getattr(session, name) for name in session.__slots__})
    assert await own_call(again, restored) == first
    assert server.initialized == 3  # the one that all share, twice, and this one once
    await again.forget(restored)
    assert first not in server.sessions
    assert restored.upstream_sessions == {}


@pytest.mark.parametrize("refusal", ["404", "400", "200"])
async def test_a_session_that_the_server_lost_is_opened_anew_as_it_was(
    desk: Desk, server: Older, refusal: str
) -> None:
    server.refusal = refusal
    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    await own_call(upstream, session)
    for method, params in (("logging/setLevel", {"level": "error"}), ("resources/subscribe", {"uri": "a:b"})):
        await upstream.request(method, params, Era.LEGACY, 5.0, session=session)
    shared = text(await call(upstream, "who", Era.LEGACY))
    server.forget_all()
    assert text(await call(upstream, "who", Era.LEGACY)) != shared
    await own_call(upstream, session)
    number = session.upstream_sessions[upstream.address.replica_id]
    opened = server.sessions[number]
    assert (opened.level, opened.uris, opened.capabilities) == ("error", {"a:b"}, ASKABLE)
    assert server.calls == 4, "nothing was executed twice"


async def test_a_session_whose_opening_did_not_end_is_opened_anew_as_it_was(
    desk: Desk, server: Older
) -> None:
    upstream = desk.open(server.url)
    await call(upstream, "who", Era.LEGACY)
    opening = server.hold("notifications/initialized")
    session = session_of(**ASKABLE)
    session.log_level, session.subscriptions = "error", {"a:b"}
    calling = asyncio.create_task(own_call(upstream, session))
    await until(lambda: server.waiting == ["notifications/initialized"])
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await until(lambda: len(server.sessions) == 1)  # what is half open is ended
    opening.set()
    name = await own_call(upstream, session)
    assert session.upstream_sessions == {upstream.address.replica_id: name}
    assert (server.sessions[name].level, server.sessions[name].uris) == ("error", {"a:b"})


async def test_a_server_has_time_to_take_what_it_is_told(
    desk: Desk, server: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstreams.legacy._COURTESY", 0.05)
    upstream = desk.open(server.url)
    await call(upstream, "who", Era.LEGACY)
    methods = ("tools/call", "notifications/cancelled", "notifications/initialized")
    gates = [server.hold(method) for method in methods]
    leaving = asyncio.create_task(call(upstream, "who", Era.LEGACY))
    await until(lambda: server.waiting == ["tools/call"])
    leaving.cancel()
    opening = asyncio.create_task(own_call(upstream, session_of(**ASKABLE)))
    await until(lambda: set(server.waiting) == set(methods))
    await asyncio.wait({opening}, timeout=0.5)
    for gate in gates:
        gate.set()
    assert await opening in server.sessions
    await until(lambda: "notifications/cancelled" in server.told)


async def test_many_calls_that_find_their_session_lost_open_one_together(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    await own_call(upstream, session)
    server.forget_all()
    before = server.initialized
    assert len(set(await asyncio.gather(*(own_call(upstream, session) for _ in range(20))))) == 1
    assert server.initialized == before + 1


async def test_a_session_that_ends_is_ended_at_the_server(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    name = await own_call(upstream, session)
    await upstream.forget(session)
    assert name not in server.sessions
    await upstream.forget(session)  # a second time does no harm
    await upstream.forget(session_of())


async def test_credentials_of_users_never_share_a_session(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url, headers={"Authorization": "Bearer ours"})
    names: dict[str, str] = {}
    for user in ("ann", "bob", "ann"):
        for era in (Era.LEGACY, Era.MODERN):
            headers = {"Authorization": f"Bearer {user}"}
            name = text(await call(upstream, "who", era, headers=headers))
            assert names.setdefault(user, name) == name
            assert server.sessions[name].credentials == {f"Bearer {user}"}
    assert names["ann"] != names["bob"]


async def test_modern_clients_share_sessions_by_what_they_declare(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)

    async def name(level: str | None = None, **capabilities: Any) -> str:
        meta = {LOG_LEVEL_KEY: level} if level else None
        given: dict[str, Any] = {"capabilities": capabilities, "meta": meta}
        return text(await call(upstream, "who", Era.MODERN, **given))

    assert await name(sampling={}) == await name(sampling={})
    assert await name(sampling={}) != await name(elicitation={})
    assert await name() == await name(experimental={"x": 1})
    levelled = await name("warning")
    assert server.sessions[levelled].level == "warning"
    for number in range(100):  # whoever declares something new each time does not fill the server
        await name(sampling={"x": number})
    await until(lambda: len(server.sessions) <= 70)


async def test_a_stream_that_the_server_interrupts_is_gone_on_with(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    channel = Recorder()
    calling = call(
        upstream, "interrupts", Era.LEGACY, channel=channel, meta={"progressToken": "t"}, timeout=30.0
    )
    assert text(await calling) == "after two interruptions"
    told = [message["params"] for message in channel.told]
    assert told == [{"progressToken": "t", "progress": number} for number in (0, 1, 2)]
    assert server.calls == 1


async def test_a_question_that_the_server_withdraws_is_not_answered(desk: Desk, server: Older) -> None:
    withdrawn = asyncio.Event()

    class Slow(Recorder):
        async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                withdrawn.set()
                raise
            raise AssertionError

    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    answer = await call(upstream, "withdraws", Era.LEGACY, session=session, channel=Slow())
    assert text(answer) == "withdrawn"
    assert withdrawn.is_set()


async def test_the_list_of_tools_is_asked_for_again_soon_where_no_connection_was_free(
    desk: Desk, server: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstreams.upstream._ASKED_AGAIN", 0.0)
    upstream = desk.open(server.url)
    await call(upstream, "who", Era.LEGACY)
    gate = server.hold("tools/call")
    calling = asyncio.create_task(call(upstream, "who", Era.LEGACY))
    await until(lambda: server.waiting == ["tools/call"])
    desk.http.most = desk.http.open
    upstream.know_tools()
    await until(lambda: upstream._know_until <= time.monotonic())
    assert upstream.repeatable("who") is None
    desk.http.most = 100
    upstream.know_tools()
    await until(lambda: upstream.repeatable("who") is False)
    gate.set()
    await calling


class Thoughtful(Recorder):
    """A client that takes its time."""

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Think, and answer."""
        assert timeout > 100
        await asyncio.sleep(2.1)
        return await super().ask(method, params, timeout)


async def test_the_time_in_which_a_client_thinks_is_not_the_servers(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    given: dict[str, Any] = {"session": session_of(**ASKABLE), "channel": Thoughtful(), "timeout": 2.0}
    await own_call(upstream, given["session"])
    assert "file:///tmp" in text(await call(upstream, "asks", Era.LEGACY, **given))

    async def asks(caller: Caller) -> None:
        questions = {"roots": {"method": "roots/list"}}
        needed = {"resultType": "input_required", "inputRequests": questions, "requestState": "s"}
        again = caller.message["params"].get("inputResponses")
        if again is None:
            await caller.answer(json.dumps({"jsonrpc": "2.0", "id": caller.number, "result": needed}))
        else:
            await caller.answer(caller.result(json.dumps(again)))

    async with odd(asks) as modern:
        upstream = desk.open(modern.url)
        assert "file:///tmp" in text(await call(upstream, "asks", Era.LEGACY, **given))
        await upstream.close()


async def test_a_server_that_asks_for_ever_is_given_up(desk: Desk) -> None:
    async def asks(caller: Caller) -> None:
        needed = {"resultType": "input_required", "inputRequests": {"r": {"method": "roots/list"}}}
        await caller.answer(json.dumps({"jsonrpc": "2.0", "id": caller.number, "result": needed}))

    async with odd(asks) as modern:
        upstream, channel = desk.open(modern.url), Recorder()
        with pytest.raises(UpstreamFailed, match="more than 10 times"):
            await call(upstream, "asks", Era.LEGACY, session=session_of(channel), channel=channel)
        assert len(channel.asked) == 10
        await upstream.close()


async def test_what_a_server_refuses_to_open_is_an_error_and_no_loop(desk: Desk, server: Older) -> None:
    upstream = desk.open(server.url)
    session = session_of(**ASKABLE)
    await own_call(upstream, session)
    server.forget_all()
    server.closed = True
    with pytest.raises((UpstreamFailed, Unreachable)):
        await own_call(upstream, session)
    server.closed = False
    assert await own_call(upstream, session)
