"""Request bodies, read under a limit."""

from starlette.types import Message, Receive

from mcp_platform.errors import InvalidRequest, PayloadTooLarge


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read the whole body.

    Raises:
        PayloadTooLarge: It goes over the limit; no more than that is read.
        InvalidRequest: The caller left before the end of it.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The body ended early")
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLarge(limit)
        if not message.get("more_body", False):
            return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Make a `receive` that gives the body again, and afterwards what really comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
