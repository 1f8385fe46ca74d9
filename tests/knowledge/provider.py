"""A provider of embeddings that speaks OpenAI's protocol, on a local socket."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mcp_platform.cli.serving import listening_socket, serving
from tests.platform import free_port

KEY = "sk-local"
_DIMENSIONS = 1024


class Provider:
    """Turns texts into bags of their words, and counts what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.texts: list[str] = []
        self.away = False
        self.unknown: str | None = None
        """A model that it does not have."""
        self.refused = 0
        self.held: asyncio.Event | None = None
        """Answers wait for it."""

    @property
    def url(self) -> str:
        """Its address, as the setting takes it."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def embeddings(self, request: Request) -> JSONResponse:
        """Answer `POST /v1/embeddings`."""
        if self.away or request.headers["authorization"] != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "no", "type": "refused"}}, 503 if self.away else 401)
        order: dict[str, Any] = await request.json()
        if order["model"] == self.unknown:
            self.refused += 1
            return JSONResponse({"error": {"message": "no such model", "type": "invalid"}}, 404)
        texts = [order["input"]] if isinstance(order["input"], str) else order["input"]
        assert all(isinstance(text, str) for text in texts), "texts are sent as they are, not as tokens"
        self.texts += texts
        if self.held is not None:
            await self.held.wait()
        rows = [
            {"object": "embedding", "index": number, "embedding": _vector(text)}
            for number, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return JSONResponse({"object": "list", "model": order["model"], "data": rows, "usage": usage})


def _vector(text: str) -> list[float]:
    row = [0.0] * _DIMENSIONS
    for word in text.lower().split():
        row[zlib.crc32(word.strip(".,?!").encode()) % _DIMENSIONS] += 1.0
    return row


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """Run one while the body runs."""
    provider = Provider()
    app = Starlette(routes=[Route("/v1/embeddings", provider.embeddings, methods=["POST"])])
    async with serving(app, listening_socket("127.0.0.1", provider.port, "--port")):
        yield provider
