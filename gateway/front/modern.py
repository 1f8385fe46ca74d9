"""Requests of 2026-07-28: each stands alone, and is answered on its own connection."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from gateway.front.answers import Answer, Presence, refuse, response, send_empty, send_json
from gateway.front.asks import asks_of
from gateway.front.incoming import Incoming, check_method, read_object
from gateway.front.rounds import AnswerRequest, Rounds, Tell
from gateway.requests import ClientRequest, Refused
from mcp_platform.envelope import check_envelope, unsupported
from mcp_platform.wire import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    HEADER_MISMATCH,
    HTTP_STATUS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    Era,
    RpcError,
)

LISTEN: Final = "subscriptions/listen"
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
_ROUTING: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")


class _RequestChannel:
    """The client, as far as one of its requests reaches it: it can be told and not asked."""

    __slots__ = ("_answer", "_meta")

    def __init__(self, answer: Answer, meta: dict[str, Any]) -> None:
        self._answer = answer
        self._meta = meta

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared with this request."""
        found: Mapping[str, Any] = self._meta[CAPABILITIES_KEY]
        return found

    @property
    def client_info(self) -> Mapping[str, Any]:
        """Its name and version, if it says."""
        found = self._meta.get(CLIENT_INFO_KEY)
        return found if isinstance(found, dict) else {}

    async def notify(self, message: dict[str, Any]) -> None:
        """Send a notification on the request's stream."""
        await self._answer.event(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Refuse: it declared nothing that it could be asked for."""
        raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")


class _ListenChannel(_RequestChannel):
    """The stream of `subscriptions/listen`: each message names the client's own request."""

    __slots__ = ("_number",)

    def __init__(self, answer: Answer, meta: dict[str, Any], number: object) -> None:
        super().__init__(answer, meta)
        self._number = number

    async def notify(self, message: dict[str, Any]) -> None:
        """Send a notification of the subscription."""
        params = message.get("params")
        named = {"params": stamped(params if isinstance(params, dict) else {}, self._number)}
        await self._answer.event({**message, **named})


Outcome = TypeVar("Outcome", dict[str, Any], dict[str, Any] | RpcError)


def stamped(body: Outcome, number: object) -> Outcome:
    """Give parameters or a result of a subscription with the id of the request that began it."""
    if isinstance(body, RpcError):
        return body
    meta = body.get("_meta")
    return {**body, "_meta": {**(meta if isinstance(meta, dict) else {}), SUBSCRIPTION_KEY: number}}


class ModernFront:
    """Serves requests of the modern era."""

    def __init__(self, answer: AnswerRequest, tell: Tell) -> None:
        self._answer_request = answer
        self.rounds = Rounds(answer, tell)
        self._listening: set[Presence] = set()

    def end_streams(self) -> None:
        """End the subscriptions in order: their clients begin others, with whoever is there then."""
        for presence in list(self._listening):
            presence.cancel()

    async def serve(self, incoming: Incoming, body: bytes) -> None:
        """Serve one POST."""
        number: object = None
        try:
            message = read_object(body)
            if "id" not in message:
                await self._note(incoming, message)
                return
            number = _number_of(message)
            _check_single(incoming)
            meta = check_envelope(message, incoming.headers)
        except RpcError as error:
            await _refuse(incoming, number, error)
            return
        await self._answer(incoming, message, meta)

    async def _note(self, incoming: Incoming, message: dict[str, Any]) -> None:
        """Take a notification: this era has none that a server would act on."""
        if not isinstance(message.get("method"), str):
            raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC request or notification")
        version = incoming.headers.get("mcp-protocol-version", "")
        if version != MODERN_VERSION:
            raise unsupported(version)
        await send_empty(incoming.send, 202)

    async def _answer(self, incoming: Incoming, message: dict[str, Any], meta: dict[str, Any]) -> None:
        method, number = message["method"], message["id"]
        listening = method == LISTEN
        if listening and not incoming.streams:
            await refuse(incoming.send, 406, "Accept must name text/event-stream")
            return
        answer = Answer(incoming.send, [], incoming.streams)
        request = ClientRequest(
            principal=incoming.principal,
            endpoint=incoming.endpoint,
            method=method,
            params=message["params"],
            era=Era.MODERN,
            headers=incoming.headers,
            channel=_ListenChannel(answer, meta, number) if listening else _RequestChannel(answer, meta),
        )
        presence = Presence(incoming.receive)
        if listening:
            self._listening.add(presence)
        answer.keep_alive()
        try:
            outcome = await self._outcome(request, answer)
        except RpcError as error:
            outcome = error
        except asyncio.CancelledError:
            if presence.left:
                return  # nobody reads it
            if not presence.cancelled:
                raise
            presence.go_on()
            outcome = {"resultType": "complete"}
        finally:
            presence.end()
            answer.quiet()
            self._listening.discard(presence)
        await _send(answer, number, stamped(outcome, number) if listening else outcome)

    async def _outcome(self, request: ClientRequest, answer: Answer) -> dict[str, Any] | RpcError:
        if request.method != LISTEN and asks_of(request.channel.capabilities):
            return await self.rounds.serve(request, answer)
        return await self._answer_request(request)


def _number_of(message: dict[str, Any]) -> str | int:
    number = message["id"]
    if isinstance(number, bool) or not isinstance(number, str | int) or not _is_request(message):
        raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC request or notification")
    check_method(message["method"])
    return number


def _is_request(message: dict[str, Any]) -> bool:
    return message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str)


def _check_single(incoming: Incoming) -> None:
    """Refuse a routing header that comes twice: two readers might take different copies."""
    raw = incoming.scope["headers"]
    if len(raw) == len(incoming.headers):
        return
    names = [name for name, _ in raw if name in _ROUTING]
    if len(names) != len(set(names)):
        raise RpcError(HEADER_MISMATCH, "MCP-Protocol-Version, Mcp-Method and Mcp-Name may come only once")


async def _refuse(incoming: Incoming, number: object, error: RpcError) -> None:
    status = HTTP_STATUS.get(error.code, 400)
    await send_json(incoming.send, status, response(number, error))


async def _send(answer: Answer, number: object, outcome: dict[str, Any] | RpcError) -> None:
    if isinstance(outcome, Refused):
        headers = [(name.lower().encode(), value.encode()) for name, value in outcome.headers.items()]
        await answer.finish(response(number, outcome), outcome.status, headers)
    elif isinstance(outcome, RpcError):
        await answer.finish(response(number, outcome), HTTP_STATUS.get(outcome.code, 200))
    else:
        await answer.finish({"jsonrpc": "2.0", "id": number, "result": outcome}, 200)
