"""Questions of older servers to modern clients.

The modern protocol has no requests from server to client: a result of the type `input_required` names
the questions, and the client sends its request again with the answers (MCP 2026-07-28, "Multi round-trip
requests"). An older server asks in the middle of a call. So the call is kept while the client is asked,
and goes on when the client comes back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from secrets import token_hex, token_urlsafe
from typing import Any, Final, Protocol

from gateway.front.answers import Answer
from gateway.front.asks import check_offer
from gateway.requests import ClientRequest
from mcp_platform.names import Channel
from mcp_platform.wire import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    REQUEST_TIMEOUT,
    RpcError,
)

_PREFIX: Final = "mcp-platform."
_PATIENCE: Final = 300.0
"""Seconds that a call is kept for its client's answers."""
_MOST: Final = 1000
_MOST_OF_ONE: Final = 50
"""Calls of one caller that wait for its answers; all without a credential are one."""

_ELSEWHERE: Final = 2.0
"""Seconds in which the process that keeps a call says so. It is given the answers only then: one that says
so too late does nothing more of a call that its client was told to send again."""

Tell = Callable[[Channel, dict[str, Any]], Awaitable[None]]
AnswerRequest = Callable[[ClientRequest], Awaitable[dict[str, Any]]]


class Telling(Protocol):
    """Where messages go that come before the result."""

    async def event(self, message: dict[str, Any]) -> None:
        """Send a message."""
        ...


class _Round:
    """One call, over all the requests that it takes; it is the channel of the call, too."""

    def __init__(self, request: ClientRequest, answer: AnswerRequest) -> None:
        meta = (request.params or {}).get("_meta") or {}
        self.capabilities: Mapping[str, Any] = meta.get(CAPABILITIES_KEY) or {}
        self.client_info: Mapping[str, Any] = meta.get(CLIENT_INFO_KEY) or {}
        self.request = replace(request, channel=self)
        self._answer: Telling | None = None
        self._questions: dict[str, tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = {}
        self._asked = asyncio.Event()
        self._number = 0
        self.task = asyncio.ensure_future(answer(self.request))
        self.expiry: asyncio.TimerHandle | None = None

    async def notify(self, message: dict[str, Any]) -> None:
        """Send a notification on the stream of the request that the client waits for now."""
        if self._answer is not None:
            await self._answer.event(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask, and give what the client's next request says to it.

        Raises:
            RpcError: The client does not offer this.
        """
        check_offer(self.capabilities, method)
        self._number += 1
        key = f"{method}-{self._number}"
        question = {"method": method} if params is None else {"method": method, "params": params}
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._questions[key] = (question, answer)
        self._asked.set()
        try:
            return await answer
        finally:
            self._questions.pop(key, None)

    async def go_on(self, answer: Telling) -> dict[str, Any] | None:
        """Give the result, or None once something is asked."""
        self._answer = answer
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({self.task, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            self._answer = None
        return self.task.result() if self.task.done() else None

    def questions(self) -> dict[str, dict[str, Any]]:
        """Give what is asked now."""
        self._asked.clear()
        return {key: question for key, (question, _) in self._questions.items()}

    def take(self, answers: Mapping[str, Any]) -> None:
        """Hand over the client's answers; what it left out is asked again."""
        for key, (_, answer) in list(self._questions.items()):
            given = answers.get(key)
            if isinstance(given, dict) and not answer.done():
                answer.set_result(given)
                del self._questions[key]
        if self._questions:
            self._asked.set()


class Rounds:
    """The calls that wait for their clients' answers.

    A client may come back to another process than the one that keeps its call. Then all are asked who
    keeps it; that one is told what the client says, and sends here what comes of it.
    """

    def __init__(self, answer: AnswerRequest, tell: Tell) -> None:
        self._answer_request = answer
        self._tell = tell
        self._name = token_hex(8)
        self._parked: dict[str, _Round] = {}
        self._elsewhere: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, request: ClientRequest, answer: Answer) -> dict[str, Any]:
        """Answer a request whose client may be asked: with the result, or with what is asked.

        Raises:
            RpcError: The error to answer with.
        """
        state = (request.params or {}).get("requestState")
        if not isinstance(state, str) or not state.startswith(_PREFIX):
            return await self._go_on(_Round(request, self._answer_request), answer)
        given = (request.params or {}).get("inputResponses")
        answers = given if isinstance(given, dict) else {}
        call = self._resume(state, _whose(request), answers)
        if call is not None:
            return await self._go_on(call, answer)
        return await self._resume_elsewhere(state, _whose(request), answers, answer)

    async def hear(self, data: dict[str, Any]) -> None:
        """Take in what another process says of rounds."""
        if "round" in data:
            await self._hear_client(data)
        elif (waiting := self._elsewhere.get(str(data.get("reply")))) is not None:
            waiting.put_nowait(data)

    async def _hear_client(self, data: dict[str, Any]) -> None:
        """Take in what a client says that came back to another process."""
        state, whose = str(data["round"]), str(data.get("whose"))
        away = _Away(self._tell, str(data.get("reply")))
        if "answers" not in data:
            if self._find(state, whose) is not None:
                await away.say({"keeper": self._name})
        elif data.get("keeper") == self._name:
            call = self._resume(state, whose, data["answers"])
            task = asyncio.ensure_future(self._serve_another(call, away))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the calls that wait."""
        for state in list(self._parked):
            self._expire(state)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(self, call: _Round, answer: Telling) -> dict[str, Any]:
        try:
            result = await call.go_on(answer)
        except asyncio.CancelledError:
            call.task.cancel()  # the client left while it waited
            await asyncio.gather(call.task, return_exceptions=True)
            raise
        return result if result is not None else self._park(call)

    def _park(self, call: _Round) -> dict[str, Any]:
        own = sum(_caller(each.request) == _caller(call.request) for each in self._parked.values())
        if len(self._parked) >= _MOST or own >= _MOST_OF_ONE:
            call.task.cancel()
            raise RpcError(INTERNAL_ERROR, "too many calls wait for their clients' answers; try again later")
        state = _PREFIX + token_urlsafe(24)
        self._parked[state] = call
        call.expiry = asyncio.get_running_loop().call_later(_PATIENCE, self._expire, state)
        return {"resultType": "input_required", "inputRequests": call.questions(), "requestState": state}

    def _find(self, state: str, whose: str) -> _Round | None:
        call = self._parked.get(state)
        return call if call is not None and _whose(call.request) == whose else None

    def _resume(self, state: str, whose: str, answers: dict[str, Any]) -> _Round | None:
        call = self._find(state, whose)
        if call is None:
            return None
        del self._parked[state]
        if call.expiry is not None:
            call.expiry.cancel()
        call.take(answers)
        return call

    def _expire(self, state: str) -> None:
        call = self._parked.pop(state)
        if call.expiry is not None:
            call.expiry.cancel()
        call.task.cancel()

    async def _resume_elsewhere(
        self, state: str, whose: str, answers: dict[str, Any], answer: Answer
    ) -> dict[str, Any]:
        reply = token_hex(12)
        heard = self._elsewhere[reply] = asyncio.Queue()
        asked = {"round": state, "whose": whose, "reply": reply}
        try:
            await self._tell(Channel.SESSIONS, asked)
            keeper = (await _next(heard, _ELSEWHERE, _unknown())).get("keeper")
            await self._tell(Channel.SESSIONS, {**asked, "keeper": keeper, "answers": answers})
            silent = RpcError(REQUEST_TIMEOUT, "nothing is known of what became of this call")
            while True:
                data = await _next(heard, _PATIENCE, silent)
                if "event" in data:
                    await answer.event(data["event"])
                elif "error" in data:
                    raise RpcError.read(data["error"])
                elif "result" in data:
                    found: dict[str, Any] = data["result"]
                    return found
        finally:
            del self._elsewhere[reply]

    async def _serve_another(self, call: _Round | None, away: "_Away") -> None:
        """Go on with a call whose client came back to another process."""
        try:
            if call is None:
                raise _unknown()  # another request of the client went on with it meanwhile
            await away.say({"result": await self._go_on(call, away)})
        except RpcError as error:
            await away.say({"error": error.wire()})


class _Away:
    """The client, at another process."""

    def __init__(self, tell: Tell, reply: str) -> None:
        self._tell = tell
        self._reply = reply

    async def event(self, message: dict[str, Any]) -> None:
        """Send a message before the result."""
        await self.say({"event": message})

    async def say(self, what: dict[str, Any]) -> None:
        """Tell the process that the client came back to."""
        await self._tell(Channel.SESSIONS, {"reply": self._reply, **what})


async def _next(heard: asyncio.Queue[dict[str, Any]], within: float, silent: RpcError) -> dict[str, Any]:
    try:
        async with asyncio.timeout(within):
            return await heard.get()
    except TimeoutError:
        raise silent from None


def _unknown() -> RpcError:
    return RpcError(INVALID_PARAMS, "requestState is not known, or not any more: send the request without it")


def _caller(request: ClientRequest) -> str:
    return request.principal.credential if request.principal else "public"


def _whose(request: ClientRequest) -> str:
    """Name the caller, and what the request is about: only the same may go on with it."""
    name = (request.params or {}).get("name")
    return f"{_caller(request)} {request.endpoint} {request.method} {name}"
