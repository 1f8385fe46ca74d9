"""`/api/v1/deployments/{id}/logs`: what a deployment's replicas wrote, and what they write now.

Its owner, the author of its MCP and whoever has `deployments:all` may read them: servers log what they
are asked, and not everybody who may see that a deployment is there is to see that.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Query, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from api.admissions import credential_of
from api.dependencies import PartsDep, RequiresToken, parts_of
from api.live_logs import BEGUN, QUIET, LiveLog, LogSocket
from api.v1.deployments.lookup import Reader, check_reader_of_logs, find_deployment
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Moment
from mcp_platform.contracts.logs import Level, LogPage, LogQuery
from mcp_platform.errors import InvalidRequest, ValidationFailed
from storage.logs.search import Cursor, Found

router = APIRouter(prefix="/deployments/{deployment_id}/logs", tags=["Deployments"])

Listener = Annotated[Principal, Depends(RequiresToken(Permission.DEPLOYMENTS_READ))]

_DURATION: Final = re.compile(r"(\d{1,7})([smhd])", re.ASCII)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_ORDINAL: Final = re.compile(r"\d{1,9}", re.ASCII)


async def _query(
    replica: Annotated[str | None, Query(max_length=36, description="A replica's ordinal, or its id")] = None,
    level: Annotated[Level | None, Query(description="The least level")] = None,
    since: Annotated[
        str | None, Query(max_length=40, description="A point in time, or how long ago: `15m`, `2h`, `7d`")
    ] = None,
    search: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="A text, whatever the case of its letters"),
    ] = None,
) -> LogQuery:
    ordinal, replica_id = _replica(replica) if replica is not None else (None, None)
    return LogQuery(
        ordinal=ordinal,
        replica_id=replica_id,
        level=level,
        since=_moment("since", since) if since is not None else None,
        search=search,
    )


Asked = Annotated[LogQuery, Depends(_query)]


@router.get("")
async def read_logs(
    request: Request,
    deployment_id: UUID,
    caller: Reader,
    parts: PartsDep,
    asked: Asked,
    until: Annotated[str | None, Query(max_length=40, description="As `since`")] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 200,
    cursor: Annotated[str | None, Query(max_length=100, description="`next` of the answer before")] = None,
) -> LogPage:
    """Give the newest lines of all replicas, in the order of time.

    A search looks back for two seconds at most. Where it found the limit, or its time was over, the answer
    is `truncated`, and `next` is the cursor with which to ask for what is older. Two searches (`search`, or
    a `level`) of one account are done at once; a further one is answered 429.
    """
    await check_reader_of_logs(parts, await find_deployment(parts, deployment_id, caller), caller)
    query = asked if until is None else replace(asked, until=_moment("until", until))
    work = parts.logs.search(deployment_id, query, limit, caller.user_id, _cursor(cursor))
    found = await _while_connected(request, work)
    return LogPage.model_validate(
        {
            "deployment_id": deployment_id,
            "lines": [line.shown(deployment_id) for line in found.lines],
            "truncated": found.next is not None,
            "next": str(found.next) if found.next else None,
        }
    )


async def _while_connected(request: Request, work: Coroutine[Any, Any, Found]) -> Found:
    searching = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({searching, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not searching.done():
            raise InvalidRequest("The caller left before the answer")
        return searching.result()
    finally:
        searching.cancel()
        gone.cancel()
        await asyncio.gather(searching, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/stream", response_class=StreamingResponse)
async def stream_logs(
    request: Request,
    deployment_id: UUID,
    caller: Listener,
    parts: PartsDep,
    asked: Asked,
    limit: Annotated[int, Query(ge=0, le=5000, description="How many lines of the past come first")] = 100,
    last_event_id: Annotated[
        str | None, Query(max_length=65_536, description="For clients that cannot set `Last-Event-ID`")
    ] = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=65_536)] = None,
) -> StreamingResponse:
    """Stream lines while they are written, as events named `logs`, each with some lines.

    `missed` tells how many bytes were removed before they could be sent, and `end` that the deployment is
    stopped and everything is told. Who comes back with the last event's id goes on right after it.
    """
    await check_reader_of_logs(parts, await find_deployment(parts, deployment_id, caller), caller)
    # Before the answer begins: it can say then what is wrong.
    await parts.logs.check()
    live = LiveLog(parts, deployment_id, asked, caller.user_id, limit, last_event_id_header or last_event_id)
    return StreamingResponse(
        _events(live, caller, request),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(live: LiveLog, caller: Principal, request: Request) -> AsyncIterator[bytes]:
    async with live.listening(caller, credential_of(request)), aclosing(live.messages()) as messages:
        async for message in messages:
            place = f"id: {message.position}\n" if message.position else ""
            if message.kind == BEGUN:
                # Not before: who hears it relies on being told what is written from now on.
                yield b": connected\n\n"
            elif message.kind == QUIET:
                yield f": still here\n{place}\n".encode()
            else:
                head = f"event: {message.kind}\n{place}data: "
                yield head.encode() + orjson.dumps(message.content) + b"\n\n"


@router.websocket("/ws")
async def log_socket(
    socket: WebSocket,
    deployment_id: UUID,
    caller: Listener,
    asked: Asked,
    limit: Annotated[int, Query(ge=0, le=5000)] = 100,
    after: Annotated[str | None, Query(max_length=65_536)] = None,
) -> None:
    """Send the same over a WebSocket, as messages whose `type` is the event's name."""
    parts = parts_of(socket)
    await check_reader_of_logs(parts, await find_deployment(parts, deployment_id, caller), caller)
    await parts.logs.check()
    live = LiveLog(parts, deployment_id, asked, caller.user_id, limit, after)
    await socket.accept()
    await LogSocket(socket, parts, live).serve(caller)


def _replica(text: str) -> tuple[int | None, UUID | None]:
    if _ORDINAL.fullmatch(text):
        return int(text), None
    try:
        return None, UUID(text)
    except ValueError:
        problem = "is neither a replica's ordinal, such as 0, nor its id"
        raise ValidationFailed.at(("query", "replica"), problem) from None


def _moment(name: str, text: str) -> datetime:
    if match := _DURATION.fullmatch(text):
        try:
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        return _MOMENT.validate_python(text)
    except ValidationError:
        problem = "is neither a point in time, such as 2026-01-15T10:30:00Z, nor how long ago, such as 15m"
        raise ValidationFailed.at(("query", name), problem) from None


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    try:
        return Cursor.read(text)
    except ValueError as error:
        raise ValidationFailed.at(("query", "cursor"), str(error)) from None
