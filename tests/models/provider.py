"""A provider of language models that speaks OpenAI's protocol, on a local socket, and misbehaves on demand.

async with running_provider() as provider:
provider.answers("feasibility", {"score": 0.7, …})     # or a function of what was asked
provider.next(limited("1"), failing(500))              # before that: what goes wrong first
settings = quick_settings(folder).model_copy(update={"models": provider.settings()})
…
assert "the idea" in provider.requests[-1].user
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from activities.prompts import PROMPTS
from activities.prompts.reading import Prompt, read_prompt
from mcp_platform.model_settings import ChainedModel, ModelSettings

KEY = "sk-local-0123456789abcdef"
MODEL = "test-model"
INPUT_TOKENS = 100
OUTPUT_TOKENS = 20


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    prompt: str | None
    """Whose instructions it has."""
    model: str
    system: str
    user: str
    body: dict[str, Any]
    key: str


Behaviour = Callable[[web.Request, Asked], Awaitable[web.StreamResponse]]
Answer = dict[str, Any] | Callable[[Asked], dict[str, Any]]


class Provider:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Asked] = []
        self.strays: list[str] = []
        """Requests to anything else that came."""
        self.key = KEY
        self._answers: dict[str, Answer] = {}
        self._prompts: dict[str, Prompt] = {}
        self._next: deque[Behaviour] = deque()
        self._always: dict[str, Behaviour] = {}

    @property
    def url(self) -> str:
        """Its address, as the setting takes it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answers(self, prompt: str, answer: Answer) -> None:
        """Answer whatever is asked with this prompt so."""
        self._answers[prompt] = answer

    def knows(self, prompt: Prompt) -> None:
        """Tell it of a prompt in `PROMPTS` that is no file of the platform's."""
        self._prompts[prompt.name] = prompt

    def next(self, *behaviours: Behaviour) -> None:
        """Do these things first, one for each request."""
        self._next.extend(behaviours)

    def always(self, behaviour: Behaviour, model: str = MODEL) -> None:
        """Do this whenever this model is asked."""
        self._always[model] = behaviour

    def model(self, name: str = MODEL, **changes: Any) -> ChainedModel:
        """Give one of its models, for a chain."""
        values = {"model": f"openai:{name}", "base_url": self.url, "api_key": self.key, "timeout": 60.0}
        return ChainedModel.model_validate(values | changes)

    def settings(self, chain: Sequence[ChainedModel] | None = None, **changes: Any) -> ModelSettings:
        """Give settings with this provider's model, or with this chain."""
        return ModelSettings(chain=list(chain or [self.model()]), **changes)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /v1/chat/completions`."""
        asked = self._asked(await request.json(), request.headers.get("authorization", ""))
        self.requests.append(asked)
        if asked.key != f"Bearer {self.key}":
            return _error(401, "invalid_api_key", f"Incorrect API key provided: {asked.key}")
        if self._next:
            return await self._next.popleft()(request, asked)
        if asked.model in self._always:
            return await self._always[asked.model](request, asked)
        answer = self._answers.get(asked.prompt or "")
        if answer is None:
            return _error(400, "no_answer", f"the test has no answer for the prompt {asked.prompt!r}")
        return completion(asked, answer(asked) if callable(answer) else answer)

    async def stray(self, request: web.Request) -> web.StreamResponse:
        """Note a request to any other path."""
        self.strays.append(f"{request.method} {request.path}")
        return web.json_response({}, status=404)

    def _asked(self, body: dict[str, Any], key: str) -> Asked:
        texts = {message["role"]: message["content"] for message in body["messages"]}
        known = [self._prompts.get(name) or read_prompt(name) for name in PROMPTS]
        found = [each.name for each in known if texts["system"].startswith(each.text)]
        return Asked(found[0] if found else None, body["model"], texts["system"], texts["user"], body, key)


def completion(asked: Asked, answer: dict[str, Any] | str, **changes: Any) -> web.Response:
    """Answer in the form that was asked for: a call of the tool, or a text."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    if "tools" in asked.body:
        called = {"name": asked.body["tools"][0]["function"]["name"], "arguments": text}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": called}],
        }
    else:
        message = {"role": "assistant", "content": text}
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    return web.json_response({name: value for name, value in (body | changes).items() if value is not None})


def answering(answer: dict[str, Any] | str, **changes: Any) -> Behaviour:
    """Answer with this, valid or not; a text stands where JSON should."""

    async def behave(_request: web.Request, asked: Asked) -> web.StreamResponse:
        return completion(asked, answer, **changes)

    return behave


def failing(status: int, code: str = "server_error", **headers: str) -> Behaviour:
    """Answer with this status."""

    async def behave(_request: web.Request, asked: Asked) -> web.StreamResponse:
        return _error(status, code, f"it failed, and you said {asked.user}", headers)

    return behave


def limited(retry_after: str | None) -> Behaviour:
    """Answer 429, and say when to come back."""
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return failing(429, "rate_limit_exceeded", **headers)


def waiting(gate: asyncio.Event, answer: Behaviour) -> Behaviour:
    """Answer so once the gate is open."""

    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        await gate.wait()
        return await answer(request, asked)

    return behave


async def silent(_request: web.Request, _asked: Asked) -> web.StreamResponse:
    """Never answer: the test's client has to give up."""
    await asyncio.Event().wait()
    raise AssertionError


async def broken(_request: web.Request, _asked: Asked) -> web.StreamResponse:
    """Answer with what only looks like JSON."""
    return web.Response(text='{"id": "chatcmpl-1", "choices": [', content_type="application/json")


async def packed(_request: web.Request, asked: Asked) -> web.StreamResponse:
    """Answer packed, which is how a small answer becomes a huge one."""
    response = completion(asked, {})
    response.enable_compression(web.ContentCoding.gzip)
    response.headers["Vary"] = "*"
    return response


async def dropping(request: web.Request, _asked: Asked) -> web.StreamResponse:
    """Cut the connection in the middle of the answer."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id": ')
    assert request.transport is not None
    request.transport.abort()
    return response


def endless(chunk: bytes, pause: float) -> Behaviour:
    """Answer, and never come to the end."""

    async def behave(request: web.Request, _asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(chunk)
            await asyncio.sleep(pause)

    return behave


def _error(status: int, code: str, text: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": text, "type": code, "code": code, "param": None}}
    return web.json_response(body, status=status, headers=headers)


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """Run one while the body runs."""
    provider = Provider()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", provider.serve)
    app.router.add_route("*", "/{path:.*}", provider.stray)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.port = runner.addresses[0][1]
    try:
        yield provider
    finally:
        await runner.cleanup()
