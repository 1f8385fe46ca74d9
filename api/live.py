"""`/ws` and `/events`: what happens, while it happens."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import Field, ValidationError

from api.dependencies import PartsDep, RequiresToken, parts_of
from api.outbox import Outbox, OutboxFull
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Order
from mcp_platform.errors import PlatformError

logger = structlog.get_logger(__name__)

router = APIRouter(tags=["Live updates"])

Listener = Annotated[Principal, Depends(RequiresToken(Permission.TASKS_READ))]

_HEARTBEAT = 15.0
_TRY_AGAIN_LATER = 1013


class SocketOrder(Order):
    """What a client may send on `/ws`."""

    type: Literal["subscribe", "unsubscribe"]
    task_id: Annotated[str, Field(max_length=128)]


@router.websocket("/ws")
async def task_socket(socket: WebSocket, caller: Listener) -> None:
    """Tell a client about the tasks that it subscribes to."""
    parts = parts_of(socket)
    await socket.accept()
    outbox = Outbox(parts.settings.api.listener_backlog)
    sender = asyncio.create_task(_send_all(socket, outbox))
    receiver = asyncio.create_task(_receive_all(socket, parts, caller, outbox))
    try:
        await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sender, receiver):
            task.cancel()
        await asyncio.gather(sender, receiver, return_exceptions=True)
        parts.hub.leave(outbox)


async def _send_all(socket: WebSocket, outbox: Outbox) -> None:
    try:
        while True:
            _kind, text = await outbox.next()
            await socket.send_text(text)
    except OutboxFull:
        await socket.close(_TRY_AGAIN_LATER, "too slow; connect again for the newest states")
    except (WebSocketDisconnect, RuntimeError):
        # Gone while we were writing; the receiver sees it too.
        return


async def _receive_all(socket: WebSocket, parts: Parts, caller: Principal, outbox: Outbox) -> None:
    while True:
        # Messages that are here already are given without a pause, and others want their turn.
        await asyncio.sleep(0)
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            order = SocketOrder.model_validate_json(message.get("text") or message.get("bytes") or "")
        except ValidationError:
            _complain(
                outbox, 'send {"type": "subscribe" or "unsubscribe", "task_id": "…"}', "INVALID_REQUEST"
            )
            continue
        if order.type == "unsubscribe":
            parts.hub.unsubscribe(order.task_id, outbox)
            continue
        try:
            await parts.tasks.authorise(order.task_id, caller)
        except PlatformError as error:
            _complain(outbox, str(error), error.code, order.task_id)
        else:
            parts.hub.subscribe(order.task_id, outbox)


def _complain(outbox: Outbox, detail: str, code: str, task_id: str | None = None) -> None:
    message = {"type": "error", "error_code": code, "detail": detail}
    if task_id:
        message["task_id"] = task_id
    outbox.put(f"error:{task_id}", "error", json.dumps(message))


@router.get("/events", response_class=StreamingResponse)
async def events(caller: Listener, parts: PartsDep) -> StreamingResponse:
    """Stream `task_update` for the caller's tasks and `deployment_status` for all deployments."""
    return StreamingResponse(
        _stream(parts, caller),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(parts: Parts, caller: Principal) -> AsyncIterator[str]:
    outbox = Outbox(parts.settings.api.listener_backlog)
    async with parts.listeners.listening(caller, outbox):
        # Something at once, so that proxies and clients see that the stream is open.
        yield ": connected\n\n"
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    kind, text = await outbox.next()
            except TimeoutError:
                yield ": still here\n\n"
            except OutboxFull:
                return
            else:
                yield f"event: {kind}\ndata: {text}\n\n"
