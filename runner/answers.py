"""Answers over HTTP: as JSON, or as a stream where something is said before the result."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from mcp_platform.duplex import SessionGone, SessionLost
from mcp_platform.wire import HTTP_STATUS, INVALID_REQUEST, Era, RpcError
from runner.streams import EventStream, event, open_stream

Work = Callable[[EventStream | None], Awaitable[dict[str, Any]]]
"""A request on its way: what is said of it before its result goes to the stream."""


async def stream_answer(request: web.Request, number: object, work: Work) -> web.StreamResponse:
    """Relay what is said of a request before its result; one of which nothing is said is answered as JSON."""
    news = EventStream()
    call = asyncio.ensure_future(work(news))
    call.add_done_callback(lambda _: news.end())
    stream: web.StreamResponse | None = None
    try:
        while (item := await news.next()) is not None:
            if stream is None:
                stream = await open_stream(request)
            await stream.write(event(item))
        outcome: dict[str, Any] | RpcError = await call
    except RpcError as error:
        if stream is None:
            raise
        outcome = error
    except SessionLost:
        if stream is None:
            raise
        return stream  # without an answer: that says that it broke
    finally:
        call.cancel()
    if stream is None:
        return answer(number, outcome, Era.LEGACY)
    await stream.write(event(_response(number, outcome)))
    await stream.write_eof()
    return stream


def answer(number: object, outcome: dict[str, Any] | RpcError, era: Era) -> web.Response:
    """Give a result or an error as JSON."""
    status = 200
    if isinstance(outcome, RpcError) and (era is Era.MODERN or number is None):
        status = HTTP_STATUS.get(outcome.code, 200)
    return _json(_response(number, outcome), status)


def no_session(number: object) -> web.Response:
    """Answer that a session has ended: its client is to begin another."""
    error = RpcError(INVALID_REQUEST, "Session not found: it has ended, or was never opened here")
    return _json(_response(number, error), 404)


def lost(error: SessionLost) -> web.Response:
    """Answer so that whoever called knows whether something was done: 503 says no, 502 perhaps."""
    if isinstance(error, SessionGone):
        return unavailable(str(error))
    return _json({"detail": str(error)}, 502)


def unavailable(detail: str) -> web.Response:
    """Answer that nothing was done, and that it may be tried again."""
    said = _json({"detail": detail}, 503)
    said.headers["Retry-After"] = "1"
    return said


def refused_page() -> web.Response:
    """Refuse a page in a browser."""
    return _json({"detail": "Pages may not call this server"}, 403)


def _response(number: object, outcome: dict[str, Any] | RpcError) -> dict[str, Any]:
    if isinstance(outcome, RpcError):
        return {"jsonrpc": "2.0", "id": number, "error": outcome.wire()}
    return {"jsonrpc": "2.0", "id": number, "result": outcome}


def _json(body: dict[str, Any], status: int) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
