"""Which requests leave a line in the log."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

import mcp_platform.request_context
from mcp_platform.request_context import RequestContext


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the status that the path ends with."""
    await Response(status_code=int(scope["path"][-3:]))(scope, receive, send)


async def test_refused_calls_are_logged_one_a_second_for_each_status(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, int, int]] = []
    now = 100.0

    def info(_event: str, *, path: str, status: int, unlogged: int = 0, **_more: Any) -> None:
        lines.append((path, status, unlogged))

    monkeypatch.setattr(mcp_platform.request_context, "logger", SimpleNamespace(info=info))
    monkeypatch.setattr(
        mcp_platform.request_context,
        "time",
        SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now),
    )
    monkeypatch.setattr(
        mcp_platform.request_context, "_LINES", SimpleNamespace(isEnabledFor=lambda _level: True)
    )
    app = RequestContext(answer)

    async def ask(*paths: str) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            pass

        for path in paths:
            await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)

    await ask(
        "/mcp/a/200", "/mcp/a/401", "/mcp/b/401", "/mcp/b/404", "/mcp/c/401", "/mcp/c/503", "/mcp/d/503"
    )
    assert lines == [
        ("/mcp/a/401", 401, 0),
        ("/mcp/b/404", 404, 0),
        ("/mcp/c/503", 503, 0),
        ("/mcp/d/503", 503, 0),
    ]
    lines.clear()
    now += 1
    await ask("/mcp/d/401", "/mcp/e/404")
    assert lines == [("/mcp/d/401", 401, 2), ("/mcp/e/404", 404, 0)]
