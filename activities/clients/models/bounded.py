"""HTTP to providers, whose answers are bounded.

A model's answer is small. One that has no end, or that unpacks to something huge, is cut off before it
fills the memory.
"""

from collections.abc import AsyncIterator
from typing import Final

import httpx

MOST_BYTES: Final = 4_194_304


class AnswerTooLarge(Exception):
    """A provider sends more than any answer has, or packed, so that nobody can tell."""


class BoundedTransport(httpx.AsyncHTTPTransport):
    """Sends requests, and ends answers that are too large."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request that asks for an answer that is not packed."""
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise AnswerTooLarge("the answer is packed, though it was asked not to be")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MOST_BYTES:
                raise AnswerTooLarge(f"the answer has more than {MOST_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
