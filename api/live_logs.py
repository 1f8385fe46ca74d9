"""Logs that are followed: by event streams and by WebSockets.

A listener is sent the next lines when it has taken those before: they wait in the log's files, not here.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import structlog
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from api.admissions import Admission, credential_of
from api.live import Authentication
from api.outbox import Outbox
from api.parts import Parts
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.deployments import DeploymentState, replica_id
from mcp_platform.contracts.logs import LogQuery
from mcp_platform.errors import PlatformError, Unauthorized, Unavailable
from storage.logs.follow import Told
from storage.logs.reader import Following

logger = structlog.get_logger(__name__)

QUIET: Final = "quiet"
BEGUN: Final = "begun"
_HEARTBEAT: Final = 5.0
"""Seconds without news after which a listener is told that it is still there."""
_ANSWERS: Final = 10
_ENDED: Final = 1000
_TRY_AGAIN_LATER: Final = 1013
_UNAUTHORIZED: Final = 4401
_USAGE: Final = 'send {"type": "authenticate", "token": "…"}, or nothing'


class Message(NamedTuple):
    """What one listener is told."""

    kind: str
    """`logs`, `missed`, `end`, `error`, `authenticated`; that all that is written from now on will be told
    (`begun`); or that there was nothing to tell for a while (`quiet`)."""
    content: dict[str, Any]
    position: str = ""
    """From where to go on after this message."""
    refused: bool = False
    """Whether the listener is told nothing more, as its credential has ended."""


class LiveLog:
    """One listener to a deployment's log.

    Args:
        parts: What it reads from.
        deployment_id: Whose log.
        query: Which of its lines.
        asker: Who listens.
        history: How many lines of the past come first.
        position: Where the listener was before, if it comes back; then that is where it goes on.
    """

    def __init__(
        self,
        parts: Parts,
        deployment_id: UUID,
        query: LogQuery,
        asker: UUID,
        history: int,
        position: str | None,
    ) -> None:
        self._parts = parts
        self._deployment_id = deployment_id
        self._query = query
        self._asker = asker
        self._history = history
        self._position = position
        self._news = asyncio.Event()
        self.answers = Outbox(_ANSWERS, self._news.set)
        """What the listener is answered, and why it is told nothing more."""

    @asynccontextmanager
    async def listening(
        self, principal: Principal, credential: Mapping[str, str]
    ) -> AsyncIterator[Admission]:
        """Be woken by what is written, and by the credential's end, while the body runs."""
        with self._parts.admissions.admitted(principal, credential, self.answers) as admission:
            yield admission

    async def messages(self) -> AsyncGenerator[Message]:
        """Tell what there is, and then what comes, until the credential or the deployment ends."""
        reader, news = self._parts.logs, self._news
        async with reader.following(self._deployment_id, self._query, self._asker, news.set) as following:
            told = await self._begin(following)
            yield Message(BEGUN, {})
            over = False
            while True:
                news.clear()
                try:
                    answer = self.answers.take()
                except Unauthorized as error:
                    content = {"error_code": error.code, "detail": str(error)}
                    yield Message("error", content, refused=True)
                    return
                if answer is not None:
                    yield Message(answer[0], orjson.loads(answer[1]))
                for message in self._rendered(told):
                    yield message
                told = await following.take()
                if told.lines or told.missed or told.more:
                    continue
                if over:
                    yield Message("end", {"deployment_id": str(self._deployment_id)}, told.position)
                    return
                if await self._woken():
                    continue
                # What was written before the stop may have come since we looked: once more, and then the end.
                over = await self._is_over()
                if not over:
                    yield Message(QUIET, {}, told.position)

    async def _begin(self, following: Following) -> Told:
        if self._position is not None:
            try:
                await following.resume(self._position)
            except ValueError:
                # None of ours: a new beginning.
                return await following.begin(self._history)
            return Told()
        return await following.begin(self._history)

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(_HEARTBEAT):
                return await self._news.wait()
        except TimeoutError:
            return False

    async def _is_over(self) -> bool:
        async with self._parts.stores.read() as rows:
            deployment = await rows.deployments.get(self._deployment_id)
        return deployment is None or deployment.status is DeploymentState.STOPPED

    def _rendered(self, told: Told) -> Iterator[Message]:
        own = self._deployment_id
        last = len(told.missed) - 1 if not told.lines else -1
        for number, missed in enumerate(told.missed):
            ordinal, revision = missed.place
            content = {
                "deployment_id": str(own),
                "replica": str(replica_id(own, ordinal, revision)),
                "ordinal": ordinal,
                "revision": revision,
                "bytes": missed.bytes,
            }
            yield Message("missed", content, told.position if number == last else "")
        if told.lines:
            lines = [line.shown(own) for line in told.lines]
            yield Message("logs", {"deployment_id": str(own), "lines": lines}, told.position)


class LogSocket:
    """One WebSocket that follows a log."""

    def __init__(self, socket: WebSocket, parts: Parts, live: LiveLog) -> None:
        self._socket = socket
        self._parts = parts
        self._live = live

    async def serve(self, caller: Principal) -> None:
        """Send until the log ends, and carry out what the client sends, until it leaves."""
        async with self._live.listening(caller, credential_of(self._socket)) as admission:
            sender = asyncio.create_task(self._send())
            try:
                while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                    await self._obey(message.get("text") or message.get("bytes") or "", admission)
                    # Messages that are here already come without a pause, and others want their turn.
                    await asyncio.sleep(0)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def _send(self) -> None:
        try:
            code, reason = await self._tell()
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            # Gone while we were writing; whoever receives sees it too.
            return

    async def _tell(self) -> tuple[int, str]:
        """Send what there is until there is nothing more to send; the code and the reason of the end."""
        code, reason = _ENDED, "the deployment is stopped"
        try:
            async with aclosing(self._live.messages()) as messages:
                async for message in messages:
                    if message.refused:
                        code, reason = _UNAUTHORIZED, message.content["detail"]
                    elif message.kind not in {QUIET, BEGUN}:
                        text = orjson.dumps(
                            {"type": message.kind, **message.content, "position": message.position}
                        )
                        await self._socket.send_text(text.decode())
        except (WebSocketDisconnect, RuntimeError):
            raise
        except Exception as error:
            # Nobody waits for this task: a listener that is not told would wait for ever.
            logger.warning("log_not_followed", error=str(error), exc_info=not isinstance(error, Unavailable))
            return _TRY_AGAIN_LATER, "the log cannot be read at present; connect again for the rest"
        return code, reason

    async def _obey(self, text: str | bytes, admission: Admission) -> None:
        try:
            order = Authentication.model_validate_json(text)
            await self._parts.admissions.renew(admission, order.token.get_secret_value())
        except ValidationError:
            self._answer("error", error_code="INVALID_REQUEST", detail=_USAGE)
        except PlatformError as error:
            self._answer("error", error_code=error.code, detail=str(error))
        else:
            expires_at = admission.principal.expires_at
            self._answer("authenticated", expires_at=expires_at and expires_at.isoformat())

    def _answer(self, kind: str, **content: Any) -> None:
        self._live.answers.put(kind, kind, orjson.dumps(content).decode())
