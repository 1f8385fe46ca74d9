"""Servers behind TLS: they are called as others are, and only where their certificate holds."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.upstreams.connection import Broken, TlsFailed, Unreachable
from gateway.upstreams.http import Limits
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import Era
from tests.conformance.everything import build, http_app, sse_app
from tests.gateway.conftest import serving
from tests.gateway.upstreams import stub
from tests.upstreams.certificates import Authority, Issued
from tests.upstreams.conftest import Desk, call, text, until
from tests.upstreams.odd import Caller, odd
from tests.upstreams.trust import authority
from tests.waiting import in_one_task

__all__ = ["authority"]

ERAS = [Era.MODERN, Era.LEGACY]
HERE = "127.0.0.1"


async def fine(caller: Caller) -> None:
    """Answer."""
    await caller.answer(caller.result())


async def closes(caller: Caller) -> None:
    """Answer, and close the connection."""
    await caller.answer(caller.result())
    caller.writer.close()


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["modern", "legacy", "sse"])
async def test_servers_of_every_transport_answer_clients_of_both_eras_over_tls(
    desk: Desk, authority: Authority, kind: str, era: Era
) -> None:
    server = build("legacy" if kind == "sse" else kind)
    app = sse_app(server) if kind == "sse" else http_app(server)
    async with in_one_task(serving(app, **authority.issue(HERE).for_uvicorn)) as url:
        upstream = desk.open(f"{url}/{'sse' if kind == 'sse' else 'mcp'}")
        result = await call(upstream, "test_simple_text", era)
        assert "simple text" in text(result)
        await upstream.close()


Bad = Callable[[Authority, Path], Issued]
BAD: dict[str, tuple[Bad, str]] = {
    "unknown authority": (
        lambda _, folder: Authority(folder, "Others").issue(HERE),
        r"is of an authority that is not trusted here .*SSL_CERT_FILE",
    ),
    "other name": (
        lambda known, _: known.issue("other.example", "10.0.0.9"),
        "is for another name: the URL must name the server as its certificate does",
    ),
    "expired": (
        lambda known, _: known.issue(HERE, days=(-3, -1)),
        "has expired: the server needs a new one",
    ),
    "not yet": (lambda known, _: known.issue(HERE, days=(1, 3)), "is not valid yet"),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("what", BAD)
async def test_a_certificate_that_does_not_hold_is_refused_before_anything_is_sent(
    desk: Desk, authority: Authority, tmp_path: Path, what: str, era: Era
) -> None:
    make, told = BAD[what]
    async with odd(fine, make(authority, tmp_path).context) as server:
        upstream = desk.open(server.url, headers={"Authorization": "Bearer ours"})
        place = server.url.removeprefix("https://").removesuffix("/mcp")
        with pytest.raises(TlsFailed, match=f"The certificate of {place} {told}"):
            await call(upstream, "x", era, headers={"X-Key": "theirs"})
        assert server.lines == []
        assert desk.http.open == 0
        await upstream.close()


async def test_a_certificate_is_looked_at_once_and_not_for_each_way_to_speak(
    desk: Desk, authority: Authority
) -> None:
    hellos: list[str | None] = []
    context = authority.issue(HERE, days=(-3, -1)).context
    context.sni_callback = lambda _, name, __: hellos.append(name)
    async with odd(fine, context) as server:
        with pytest.raises(TlsFailed, match="expired"):
            await call(desk.open(server.url), "x", Era.MODERN)
    assert len(hellos) == 1


async def test_a_server_that_speaks_plain_http_is_told_from_one_with_tls(
    desk: Desk, authority: Authority
) -> None:
    async with stub() as server:
        place = server.url.removeprefix("http://")
        upstream = desk.open(f"https://{place}", headers={"Authorization": "Bearer ours"})
        told = (
            f"{place.removesuffix('/mcp')} does not speak TLS: for plain HTTP its URL must begin with http://"
        )
        with pytest.raises(TlsFailed, match=told):
            await call(upstream, "x", Era.MODERN)
        assert server.requests == []


async def test_a_server_that_keeps_silent_in_the_handshake_has_the_time_for_connections(desk: Desk) -> None:
    async with odd(fine) as server:  # what is no HTTP it reads on and on
        limits = Limits(connect_timeout=0.3, call_timeout=30.0, max_response_bytes=1000)
        upstream = desk.open(server.url.replace("http:", "https:"), limits)
        with pytest.raises(Unreachable, match=r"no TLS connection within 0\.3 s"):
            await call(upstream, "x", Era.MODERN)
        await until(lambda: server.open == 0)


async def test_a_server_that_hangs_up_in_the_handshake_may_be_restarting(desk: Desk) -> None:
    async with alarmed(b"") as url:
        with pytest.raises(Unreachable, match="hung up in the TLS handshake"):
            await call(desk.open(url.replace("http:", "https:")), "x", Era.MODERN)


@asynccontextmanager
async def alarmed(answer: bytes) -> AsyncIterator[str]:
    """Serve who answers these bytes to whatever it reads; its address, with http."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, HERE, 0) as listening:
        yield f"http://{HERE}:{listening.sockets[0].getsockname()[1]}/mcp"


def _answer(body: str) -> bytes:
    return (
        f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",  # OpenSSL's alert
        _answer("<center>The plain HTTP request was sent to HTTPS port</center>"),
        _answer("Client sent an HTTP request to an HTTPS server.\n"),
        _answer("Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"),
    ],
    ids=["alert", "nginx", "go", "apache"],
)
async def test_a_server_with_tls_at_a_plain_url_is_told_so(desk: Desk, answer: bytes, era: Era) -> None:
    async with alarmed(answer) as url:
        with pytest.raises(TlsFailed, match="speaks TLS: its URL must begin with https://"):
            await call(desk.open(url), "x", era)


async def test_connections_with_tls_are_kept(desk: Desk, authority: Authority) -> None:
    async with odd(fine, authority.issue(HERE).context) as server:
        upstream = desk.open(server.url)
        for _ in range(10):
            assert text(await call(upstream, "x", Era.MODERN)) == "fine"
        assert server.connections == 1
        assert (desk.http.open, desk.http.idle) == (1, 1)
        await upstream.close()


async def test_a_connection_with_tls_that_the_server_closed_is_seen_to_be(
    desk: Desk, authority: Authority
) -> None:
    async with odd(closes, authority.issue(HERE).context) as server:
        upstream = desk.open(server.url)
        for _ in range(20):
            try:
                assert text(await call(upstream, "x", Era.MODERN)) == "fine"
            except Broken:
                raise AssertionError("a connection that was seen to be closed must not be used") from None
            await until(lambda: not server.open)
        assert server.connections == 20
        await upstream.close()


async def test_a_connection_whose_end_was_announced_carries_nothing_more(
    desk: Desk, authority: Authority
) -> None:
    """TLS tells its end before TCP does, and the connection stays open for a moment."""
    async with odd(fine, authority.issue(HERE).context) as server:
        upstream = desk.open(server.url)
        await call(upstream, "x", Era.MODERN)
        for connection in desk.http._open:
            connection.eof_received()
        assert text(await call(upstream, "x", Era.MODERN)) == "fine"
        assert server.connections == 2
        await upstream.close()


async def test_a_connection_that_ends_in_the_middle_of_a_call_is_broken(
    desk: Desk, authority: Authority
) -> None:
    async def dies(caller: Caller) -> None:
        caller.hang_up()

    async with odd(dies, authority.issue(HERE).context) as server:
        upstream = desk.open(server.url)
        with pytest.raises(Broken):
            await call(upstream, "x", Era.MODERN)
        await upstream.close()
        await until(lambda: desk.http.open == desk.http.idle)


@pytest.mark.parametrize("written", ["mcp.example", "mcp.example."])
async def test_the_name_is_what_tls_checks_whatever_address_was_checked(
    desk: Desk, authority: Authority, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert host.rstrip(".") in ("mcp.example", "else.example")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HERE, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    asked: list[str | None] = []
    context = authority.issue("mcp.example").context
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with odd(fine, context) as server:
        port = server.url.removesuffix("/mcp").rsplit(":", 1)[1]
        upstream = desk.open(f"https://{written}:{port}/mcp")
        assert text(await call(upstream, "x", Era.MODERN)) == "fine"
        assert asked == ["mcp.example"]
        assert f"Host: {written}:{port}\r\n" in server.lines[0]
        with pytest.raises(TlsFailed, match="is for another name"):
            await call(desk.open(f"https://else.example:{port}/mcp"), "x", Era.MODERN)


async def test_the_rules_for_addresses_hold_before_any_tls(desk: Desk, authority: Authority) -> None:
    async with odd(fine, authority.issue(HERE).context) as server:
        with pytest.raises(UpstreamFailed, match="does not connect"):
            await call(desk.open(server.url, private=False), "x", Era.MODERN)
        assert server.connections == 0
