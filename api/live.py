"""`/ws` and `/events`: what happens, while it happens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Final, Literal

import structlog
from fastapi import APIRouter, Depends, Header, Query, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import Field, SecretStr, TypeAdapter, ValidationError
from starlette.requests import Request

from api.admissions import Admission, credential_of
from api.dependencies import PartsDep, RequiresToken, parts_of
from api.listeners import Listener
from api.outbox import Outbox, OutboxFull
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Order
from mcp_platform.errors import PlatformError, Unauthorized

logger = structlog.get_logger(__name__)

router = APIRouter(tags=["Live updates"])

Caller = Annotated[Principal, Depends(RequiresToken(Permission.TASKS_READ))]

_HEARTBEAT = 15.0
_TRY_AGAIN_LATER: Final = 1013
_UNAUTHORIZED: Final = 4401
_USAGE: Final = (
    'send {"type": "subscribe" or "unsubscribe", "task_id": "…"}, or {"type": "authenticate", "token": "…"}'
)


class TaskOrder(Order):
    """Follow a task on `/ws`, or do not any more."""

    type: Literal["subscribe", "unsubscribe"]
    task_id: Annotated[str, Field(max_length=128)]


class Authentication(Order):
    """Carry on with a token that was refreshed."""

    type: Literal["authenticate"]
    token: Annotated[SecretStr, Field(max_length=8192)]


_ORDERS: TypeAdapter[TaskOrder | Authentication] = TypeAdapter(
    Annotated[TaskOrder | Authentication, Field(discriminator="type")]
)


@router.websocket("/ws")
async def task_socket(socket: WebSocket, caller: Caller) -> None:
    """Tell a client about the tasks that it subscribes to."""
    parts = parts_of(socket)
    await socket.accept()
    await _Socket(socket, parts).serve(caller)


class _Socket:
    """One connection to `/ws`. It has a task for sending only while there is something to send."""

    __slots__ = ("_outbox", "_parts", "_sender", "_socket")

    def __init__(self, socket: WebSocket, parts: Parts) -> None:
        self._socket = socket
        self._parts = parts
        self._outbox = Outbox(parts.settings.api.listener_backlog, self._wake)
        self._sender: asyncio.Task[None] | None = None

    async def serve(self, caller: Principal) -> None:
        """Carry out what the client sends, until it leaves or is told to."""
        try:
            with self._parts.admissions.admitted(
                caller, credential_of(self._socket), self._outbox
            ) as admission:
                while True:
                    message = await self._socket.receive()
                    if message["type"] == "websocket.disconnect":
                        return
                    await self._obey(message.get("text") or message.get("bytes") or "", admission)
                    # Messages that are here already come without a pause, and others want their turn.
                    await asyncio.sleep(0)
        finally:
            self._parts.hub.leave(self._outbox)
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.gather(self._sender, return_exceptions=True)

    def _wake(self) -> None:
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while (message := self._outbox.take()) is not None:
                await self._socket.send_text(message[1])
        except OutboxFull:
            await self._close(_TRY_AGAIN_LATER, "too slow; connect again for the newest states")
        except Unauthorized as error:
            await self._close(_UNAUTHORIZED, str(error))
        except (WebSocketDisconnect, RuntimeError):
            # Gone while we were writing; whoever receives sees it too.
            pass
        else:
            self._sender = None

    async def _close(self, code: int, reason: str) -> None:
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _obey(self, text: str | bytes, admission: Admission) -> None:
        try:
            order = _ORDERS.validate_json(text)
        except ValidationError:
            self._complain(_USAGE, "INVALID_REQUEST")
            return
        task_id = order.task_id if isinstance(order, TaskOrder) else None
        try:
            if isinstance(order, Authentication):
                await self._authenticate(order, admission)
            elif order.type == "subscribe":
                await self._parts.tasks.authorise(order.task_id, admission.principal)
                self._parts.hub.subscribe(order.task_id, self._outbox)
            else:
                self._parts.hub.unsubscribe(order.task_id, self._outbox)
        except PlatformError as error:
            self._complain(str(error), error.code, task_id)

    async def _authenticate(self, order: Authentication, admission: Admission) -> None:
        await self._parts.admissions.renew(admission, order.token.get_secret_value())
        expires_at = admission.principal.expires_at
        message = {"type": "authenticated", "expires_at": expires_at and expires_at.isoformat()}
        self._outbox.put("authenticated", "authenticated", json.dumps(message))

    def _complain(self, detail: str, code: str, task_id: str | None = None) -> None:
        message = {"type": "error", "error_code": code, "detail": detail}
        if task_id:
            message["task_id"] = task_id
        self._outbox.put(f"error:{task_id}", "error", json.dumps(message))


@router.get("/events", response_class=StreamingResponse)
async def events(
    request: Request,
    caller: Caller,
    parts: PartsDep,
    last_event_id: Annotated[
        str | None, Query(description="For clients that cannot set the header `Last-Event-ID`")
    ] = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> StreamingResponse:
    """Stream `task_update` for the caller's tasks and `deployment_status` for all deployments.

    `authorization_status` tells the caller that an authorization of theirs at a remote server holds, or has
    expired; one that was missed is not told again.

    Each event has an id. Who comes back with the last one, to whatever process of the API, is told the
    newest state of all that changed since.
    """
    since = _moment(last_event_id_header or last_event_id)
    return StreamingResponse(
        _stream(parts, caller, credential_of(request), since),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    parts: Parts, caller: Principal, credential: Mapping[str, str], since: float | None
) -> AsyncIterator[str]:
    news = asyncio.Event()
    outbox = Outbox(parts.settings.api.listener_backlog, news.set)
    with parts.admissions.admitted(caller, credential, outbox):
        async with parts.listeners.listening(caller, outbox, since) as listener:
            # Something at once, so that proxies and clients see that the stream is open.
            yield f": connected\n{_id(parts, listener)}\n"
            while True:
                news.clear()
                try:
                    message = outbox.take()
                    if message is None:
                        async with asyncio.timeout(_HEARTBEAT):
                            await news.wait()
                        continue
                except TimeoutError:
                    yield f": still here\n{_id(parts, listener)}\n"
                except OutboxFull:
                    return
                except Unauthorized as error:
                    text = json.dumps({"error_code": error.code, "detail": str(error)})
                    yield f"event: error\ndata: {text}\n\n"
                    return
                else:
                    kind, text = message
                    yield f"event: {kind}\n{_id(parts, listener)}data: {text}\n\n"


def _id(parts: Parts, listener: Listener) -> str:
    """Name a moment, in milliseconds, up to which the listener was told everything."""
    return f"id: {int(parts.listeners.told_until(listener) * 1000)}\n"


def _moment(event_id: str | None) -> float | None:
    """Read an id of ours; what is none, or lies in the future, is a new beginning."""
    if event_id is None or not event_id.isascii() or not event_id.isdigit() or len(event_id) > 15:
        return None
    return min(int(event_id) / 1000, time.time())
