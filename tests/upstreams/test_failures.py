"""Servers that fail in every way: each call ends with its error, in time, and nothing is left behind."""

import asyncio
import resource
import time
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from gateway.upstreams.connection import Broken, Unreachable
from gateway.upstreams.exchange import CredentialsRefused
from gateway.upstreams.http import Limits
from mcp_platform.errors import UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import Era
from tests.upstreams.conftest import Desk, Recorder, call, text, until
from tests.upstreams.odd import Behave, Caller, odd

EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT = 0.4
"""Seconds that a call has which is to run out of time."""
LONG = 20.0
"""Seconds that all others have: a machine that stands still for a moment must not end them first."""


def chunk(data: str) -> str:
    """Give a chunk of a body."""
    return f"{len(data.encode()):x}\r\n{data}\r\n"


async def dies(caller: Caller) -> None:
    """Hang up in the middle of the call."""
    caller.hang_up()


async def dies_in_a_stream(caller: Caller) -> None:
    """Hang up after the first event."""
    note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}'
    await caller.send(EVENTS + chunk(f"data: {note}\n\n"))
    await asyncio.sleep(0.05)
    caller.hang_up()


async def ends_a_stream_early(caller: Caller) -> None:
    """End the stream in order, without an answer."""
    await caller.send(EVENTS + chunk(": nothing\n\n") + "0\r\n\r\n")


async def keeps_silent(caller: Caller) -> None:
    """Never answer."""
    await asyncio.sleep(60)


async def half(caller: Caller) -> None:
    """Promise more than is sent, and hang up."""
    await caller.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    caller.hang_up()


async def half_and_silent(caller: Caller) -> None:
    """Promise more than is sent, and keep silent."""
    await caller.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    await asyncio.sleep(60)


async def trickles(caller: Caller) -> None:
    """Send a byte now and then, for ever."""
    await caller.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    while True:
        await caller.send(" ")
        await asyncio.sleep(0.02)


async def no_json(caller: Caller) -> None:
    """Answer with broken JSON."""
    await caller.answer("{this is no JSON")


async def no_object(caller: Caller) -> None:
    """Answer with a list."""
    await caller.answer("[1, 2]")


async def wrong_id(caller: Caller) -> None:
    """Answer another request."""
    await caller.answer(caller.result(number=987654))


async def wrong_id_in_a_stream(caller: Caller) -> None:
    """Answer another request, as an event, and end."""
    await caller.send(EVENTS + chunk(f"data: {caller.result(number=987654)}\n\n") + "0\r\n\r\n")


async def redirects(caller: Caller) -> None:
    """Send the caller elsewhere."""
    await caller.answer("", status="307 Temporary Redirect", extra=f"Location: {caller.server.url}\r\n")


async def endless_headers(caller: Caller) -> None:
    """Send headers for ever."""
    await caller.send("HTTP/1.1 200 OK\r\n")
    while True:
        await caller.send("X-More: " + "x" * 1000 + "\r\n")


async def one_endless_header(caller: Caller) -> None:
    """Send one header for ever."""
    await caller.send("HTTP/1.1 200 OK\r\nX-More: ")
    while True:
        await caller.send("x" * 1000)


async def no_http(caller: Caller) -> None:
    """Speak something else."""
    await caller.send("220 smtp.example.com ESMTP\r\n")


async def compressed(caller: Caller) -> None:
    """Compress what nobody asked to be compressed."""
    await caller.answer("xyz", extra="Content-Encoding: gzip\r\n")


async def unready(caller: Caller) -> None:
    """Say that it is not ready."""
    await caller.answer("", status="503 Service Unavailable")


async def refuses_credentials(caller: Caller) -> None:
    """Want other credentials."""
    await caller.answer("", status="401 Unauthorized", extra='WWW-Authenticate: Bearer scope="x"\r\n')


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (dies, Broken),
        (dies_in_a_stream, Broken),
        (ends_a_stream_early, Broken),
        (keeps_silent, UpstreamTimedOut),
        (half, Broken),
        (half_and_silent, UpstreamTimedOut),
        (trickles, UpstreamTimedOut),
        (no_json, UpstreamFailed),
        (no_object, UpstreamFailed),
        (wrong_id, UpstreamFailed),
        (wrong_id_in_a_stream, Broken),
        (redirects, UpstreamFailed),
        (endless_headers, UpstreamFailed),
        (one_endless_header, UpstreamFailed),
        (no_http, UpstreamFailed),
        (compressed, UpstreamFailed),
        (unready, Unreachable),
        (refuses_credentials, CredentialsRefused),
    ],
)
async def test_each_failure_has_its_error_within_the_deadline(
    desk: Desk, behave: Behave, error: type[Exception]
) -> None:
    async with odd(behave) as server:
        upstream = desk.open(server.url)
        timeout = SHORT if error is UpstreamTimedOut else LONG
        begun = time.monotonic()
        with pytest.raises(error) as raised:
            await call(upstream, "x", Era.MODERN, timeout=timeout, channel=Recorder())
        assert isinstance(raised.value, Broken) is (error is Broken)
        # Far less than the 30 s of the upstream itself, and than the 60 s of the server's silence.
        assert time.monotonic() - begun < SHORT + LONG
        assert upstream.active == 0
        await upstream.close()
        await until(lambda: desk.http.open == desk.http.idle)


@pytest.mark.parametrize("told", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("events", [True, False], ids=["events", "json"])
async def test_a_huge_answer_is_cut_off_and_never_held(desk: Desk, told: bool, events: bool) -> None:
    sent = 0

    async def floods(caller: Caller) -> None:
        nonlocal sent
        block = "x" * 100_000
        if events:
            await caller.send(EVENTS + chunk("data: "))
        elif told:
            await caller.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            await caller.send("Content-Length: 100000000\r\n\r\n")
        else:
            await caller.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            await caller.send("Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            await caller.send(chunk(block) if events or not told else block)
            sent += len(block)

    async with odd(floods) as server:
        upstream = desk.open(server.url)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UpstreamFailed, match="larger than 1000000 bytes"):
            await call(upstream, "x", Era.MODERN, timeout=LONG)
        assert sent < 20_000_000
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 40_000, "kilobytes"
        await upstream.close()


async def test_a_reader_that_is_slow_makes_the_server_wait(desk: Desk) -> None:
    sent = 0
    note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"' + "x" * 50_000 + '"}}'

    async def talks(caller: Caller) -> None:
        nonlocal sent
        await caller.send(EVENTS)
        for _ in range(400):
            await caller.send(chunk(f"data: {note}\n\n"))
            sent += 1
        await caller.send(chunk(f"data: {caller.result()}\n\n") + "0\r\n\r\n")

    class Slow(Recorder):
        async def notify(self, message: dict[str, Any]) -> None:
            await super().notify(message)
            await going.wait()

    going = asyncio.Event()
    async with odd(talks) as server:
        upstream, channel = desk.open(server.url), Slow()
        calling = asyncio.create_task(call(upstream, "x", Era.MODERN, channel=channel))
        await channel.hears("notifications/message")
        seen = -1
        while seen != sent:  # until it cannot send any more
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < 400
        going.set()
        assert text(await calling) == "fine"
        assert len(channel.told) == 400
        await upstream.close()


async def test_a_server_that_closes_after_each_answer_is_asked_again_and_again(desk: Desk) -> None:
    async def closes(caller: Caller) -> None:
        await caller.answer(caller.result())
        caller.writer.close()

    async with odd(closes) as server:
        upstream = desk.open(server.url)
        for _ in range(20):
            try:
                assert text(await call(upstream, "x", Era.MODERN)) == "fine"
            except Broken:
                raise AssertionError("a connection that was seen to be closed must not be used") from None
            await until(lambda: not server.open)
        await upstream.close()


async def test_a_body_that_lasts_until_the_connection_closes_is_read_whole(desk: Desk) -> None:
    async def old(caller: Caller) -> None:
        await caller.send(f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{caller.result('old')}")
        caller.writer.close()

    async with odd(old) as server:
        upstream = desk.open(server.url)
        assert text(await call(upstream, "x", Era.MODERN)) == "old"
        await upstream.close()


async def test_a_stream_that_ends_after_its_answer_gives_its_connection_back(desk: Desk) -> None:
    async def streams(caller: Caller) -> None:
        await caller.send(EVENTS + chunk(f"data: {caller.result()}\n\n"))
        await caller.send("0\r\n\r\n")

    async with odd(streams) as server:
        upstream = desk.open(server.url)
        for _ in range(10):
            assert text(await call(upstream, "x", Era.MODERN)) == "fine"
            await until(lambda: desk.http.idle == desk.http.open)
        assert server.connections == 1
        await upstream.close()


async def test_what_is_sent_again_when_a_kept_connection_had_just_been_closed(desk: Desk) -> None:
    """The server reads the second request of each connection, and hangs up instead of answering."""
    served: WeakKeyDictionary[asyncio.StreamWriter, int] = WeakKeyDictionary()

    async def once(caller: Caller) -> None:
        served[caller.writer] = served.get(caller.writer, 0) + 1
        if served[caller.writer] > 1:
            caller.hang_up()
            return
        await caller.answer(caller.result())

    async with odd(once) as server:
        upstream = desk.open(server.url)
        await call(upstream, "x", Era.MODERN)
        with pytest.raises(Broken):  # it may have been executed
            await call(upstream, "x", Era.MODERN)
        await call(upstream, "x", Era.MODERN)
        assert await upstream.request("prompts/get", {}, Era.LEGACY, 5.0)
        await upstream.close()


async def test_a_server_that_is_not_there_is_unreachable_at_once(desk: Desk) -> None:
    async with odd(dies) as server:
        gone = server.url
    upstream = desk.open(gone)
    with pytest.raises(Unreachable):
        await call(upstream, "x", Era.MODERN)


async def test_a_connection_that_is_never_accepted_ends_with_its_own_deadline(desk: Desk) -> None:
    limits = Limits(connect_timeout=0.3, call_timeout=60.0, max_response_bytes=1000)
    upstream = desk.open("http://192.0.2.1:9/mcp", limits)  # a documentation address: nobody answers
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        await call(upstream, "x", Era.MODERN)
    assert time.monotonic() - begun < LONG, "and not when the call's own 30 s are over"


async def test_a_caller_that_leaves_closes_its_connection_alone(desk: Desk) -> None:
    reached = asyncio.Event()

    async def silent(caller: Caller) -> None:
        if caller.message["params"]["name"] == "slow":
            reached.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0.1)
        await caller.answer(caller.result())

    async with odd(silent) as server:
        upstream = desk.open(server.url)
        leaving = asyncio.create_task(call(upstream, "slow", Era.MODERN))
        staying = asyncio.create_task(call(upstream, "quick", Era.MODERN))
        async with asyncio.timeout(LONG):
            await reached.wait()
        leaving.cancel()
        assert text(await staying) == "fine"
        await until(lambda: desk.http.open == desk.http.idle)
        assert desk.http.open == server.connections - 1
        await upstream.close()


async def test_an_upstream_that_was_closed_opens_nothing_any_more(desk: Desk) -> None:
    async def fine(caller: Caller) -> None:
        await caller.answer(caller.result())

    async with odd(fine) as server:
        upstream = desk.open(server.url)
        assert text(await call(upstream, "x", Era.MODERN)) == "fine"
        await upstream.close()
        with pytest.raises(Unreachable):
            await call(upstream, "x", Era.MODERN)
        assert server.connections == 1
