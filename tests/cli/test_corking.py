"""Answers leave in one piece, and nothing is lost or reordered on the way."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mcp_platform.cli.corking import CorkedHttp, CorkedTransport
from mcp_platform.cli.serving import listening_socket, serving
from tests.platform import free_port


class Wire:
    """Notes what a transport is told to do."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def abort(self) -> None:
        self.done.append("aborted")

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
async def corked() -> tuple[CorkedTransport, Wire]:
    wire = Wire()
    return CorkedTransport(cast("asyncio.Transport", wire), asyncio.get_running_loop()), wire


async def test_what_is_written_in_one_turn_is_sent_together(corked: tuple[CorkedTransport, Wire]) -> None:
    transport, wire = corked
    transport.write(b"head ")
    transport.writelines([b"bo", bytearray(b"dy")])
    assert wire.done == []
    assert transport.get_write_buffer_size() == len(b"head body")
    await asyncio.sleep(0)
    assert wire.done == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.done == [b"head body", b"next"]


async def test_what_waits_is_sent_before_the_end(corked: tuple[CorkedTransport, Wire]) -> None:
    transport, wire = corked
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)
    assert wire.done == [b"last", "closed"]


async def test_an_abort_sends_nothing_more(corked: tuple[CorkedTransport, Wire]) -> None:
    transport, wire = corked
    transport.write(b"never")
    transport.abort()
    await asyncio.sleep(0)
    assert wire.done == ["aborted"]


async def answer(port: int, path: str) -> list[bytes]:
    """Everything that one request is answered with, in the pieces in which it came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    pieces = []
    async with asyncio.timeout(30):
        while piece := await reader.read(1_000_000):
            pieces.append(piece)
    writer.close()
    return pieces


async def test_a_server_sends_small_answers_in_one_piece_and_large_ones_whole() -> None:
    large = bytes(range(256)) * 40_000

    async def small(_request: Request) -> Response:
        return PlainTextResponse("hello")

    async def huge(_request: Request) -> Response:
        return Response(large)

    async def stream(_request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(100):
                yield b"%d," % number

        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/small", small), Route("/huge", huge), Route("/stream", stream)])
    port = free_port()
    async with serving(app, listening_socket("127.0.0.1", port, "")):
        (piece,) = await answer(port, "/small")
        assert piece.endswith(b"\r\n\r\nhello")
        whole = b"".join(await answer(port, "/huge"))
        assert whole.partition(b"\r\n\r\n")[2] == large
        streamed = b"".join(await answer(port, "/stream"))
        assert streamed.partition(b"\r\n\r\n")[2].count(b",") == 100
        assert streamed.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("sent", [b"", b"POST /small HT", b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Le"])
async def test_a_client_that_falls_silent_is_told_and_let_go(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the client may stand still before it sends: it would be cut off first.
    monkeypatch.setattr(CorkedHttp, "patience", 3.0)
    app = Starlette(routes=[])
    port = free_port()
    async with serving(app, listening_socket("127.0.0.1", port, "")), asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_an_answer_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than the client may stand still before it sends.
    monkeypatch.setattr(CorkedHttp, "patience", 3.0)
    later = asyncio.Event()

    async def slow(request: Request) -> Response:
        body = await request.body()
        await later.wait()
        return Response(body)

    app = Starlette(routes=[Route("/slow", slow, methods=["POST"])])
    port = free_port()
    async with serving(app, listening_socket("127.0.0.1", port, "")), asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
        asyncio.get_running_loop().call_later(4.0, later.set)
        assert (await reader.read()).endswith(b"\r\n\r\nhi")
        writer.close()


async def test_an_offer_to_go_on_in_http2_does_not_lose_the_body() -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"])])
    port = free_port()
    async with serving(app, listening_socket("127.0.0.1", port, "")), asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 14\r\n"
        writer.write(f"POST /echo HTTP/1.1\r\n{head}\r\nUpgrade: h2c\r\n".encode())
        answer = await reader.readuntil(b"Upgrade: h2c\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.close()
