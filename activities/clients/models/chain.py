"""The models of the chain, by LangChain. What is slow to import is loaded when a model is first asked."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Final, Protocol

import httpx
from pydantic import BaseModel, ValidationError

from activities.clients.in_use import InUse
from activities.clients.models.bounded import BoundedTransport
from activities.clients.models.errors import failure_of
from activities.clients.models.figures import CALLS, SECONDS, TOKENS
from activities.models.asking import Reply
from activities.models.failures import ModelFailure
from activities.models.fencing import Messages
from mcp_platform.contracts.base import plain_json
from mcp_platform.contracts.models import CallOutcome
from mcp_platform.model_settings import ChainedModel, ModelSettings

MOST_ANSWER_BYTES: Final = 262_144
"""Of a valid answer: it goes through a workflow's history."""


class Keys(Protocol):
    """Knows secrets that are shared."""

    async def shared(self, name: str) -> str | None:
        """Give the value of a shared secret, or None if there is none that can be opened."""
        ...


@dataclass
class _Opened:
    key: str | None
    model: Any
    connections: InUse


class ModelChain:
    """Asks the models that the settings name.

    Args:
        settings: Which ones, and how.
        keys: Where keys are that the settings only name.
    """

    def __init__(self, settings: ModelSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._opened: dict[int, _Opened] = {}
        self._opening = asyncio.Lock()

    async def ask(self, place: int, messages: Messages, schema: type[BaseModel]) -> Reply:
        """Ask the model in this place once, and count what came of it.

        Raises:
            ModelFailure: There is no answer at all.
        """
        own = self._settings.chain[place]
        with _counted(own.model) as counted:
            reply = await self._asked(place, own, messages, schema)
            counted.outcome = CallOutcome.INVALID if reply.answer is None else CallOutcome.ANSWERED
        TOKENS.labels(own.model, "input").inc(reply.input_tokens or 0)
        TOKENS.labels(own.model, "output").inc(reply.output_tokens or 0)
        return reply

    async def close(self) -> None:
        """Close all connections."""
        for opened in self._opened.values():
            await opened.connections.give_up()
        self._opened.clear()

    async def _asked(
        self, place: int, own: ChainedModel, messages: Messages, schema: type[BaseModel]
    ) -> Reply:
        opened = await self._model(place, own, await self._key(own))
        system = messages.system
        if own.method == "json_mode":
            system += (
                f"\n\nAnswer with one JSON object by this schema: {json.dumps(schema.model_json_schema())}"
            )
        try:
            asking = opened.model.with_structured_output(schema, method=own.method, include_raw=True)
            # Each part of the connection has its timeout, too; this one bounds answers without an end.
            async with opened.connections.used(), asyncio.timeout(own.timeout):
                with resolve_name("langsmith:tracing_context")(enabled=False):
                    found = await asking.ainvoke([("system", system), ("human", messages.user)])
        except ValidationError as error:
            # Some libraries validate on their own.
            return Reply(None, problem_of(error), "", None, None)
        except Exception as error:  # every provider has errors of its own
            raise failure_of(error) from error
        return _reply(found, schema)

    async def _key(self, own: ChainedModel) -> str | None:
        if own.api_key_secret is None:
            return own.api_key.get_secret_value() if own.api_key else None
        key = await self._keys.shared(own.api_key_secret)
        if key is None:
            raise ModelFailure(CallOutcome.UNUSABLE, f"the shared secret {own.api_key_secret} is missing")
        return key

    async def _model(self, place: int, own: ChainedModel, key: str | None) -> _Opened:
        async with self._opening:
            opened = self._opened.get(place)
            if opened is None or opened.key != key:
                if opened is not None:
                    # What is being asked with the former key may still be answered.
                    await opened.connections.give_up()
                self._opened.pop(place, None)
                opened = self._opened[place] = await asyncio.to_thread(_open, own, key)
            return opened


@dataclass
class _Counted:
    outcome: CallOutcome = CallOutcome.LOST


@contextmanager
def _counted(model: str) -> Iterator[_Counted]:
    counted, begun = _Counted(), time.monotonic()
    try:
        yield counted
    except ModelFailure as failure:
        counted.outcome = failure.outcome
        raise
    finally:
        CALLS.labels(model, counted.outcome.value).inc()
        SECONDS.labels(model).observe(time.monotonic() - begun)


def _open(own: ChainedModel, key: str | None) -> _Opened:
    # What is asked is nobody else's business; libraries look at this when they are loaded.
    os.environ["LANGSMITH_TRACING"] = "false"
    options: dict[str, Any] = {
        "timeout": own.timeout,
        "max_tokens": own.max_output_tokens,
        # Who repeats is the activity.
        "max_retries": 0,
    }
    if own.temperature is not None:
        options["temperature"] = own.temperature
    if own.base_url:
        options["base_url"] = own.base_url
    if key:
        options["api_key"] = key
    http = None
    if own.model.startswith("openai:"):
        http = httpx.AsyncClient(transport=BoundedTransport(), timeout=own.timeout)
        options["http_async_client"] = http
    try:
        model = resolve_name("langchain.chat_models:init_chat_model")(own.model, **options)
    except Exception as error:  # every provider's package has reasons of its own
        detail = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise ModelFailure(CallOutcome.UNUSABLE, f"it cannot be set up: {detail}") from error
    return _Opened(key, model, InUse(http.aclose if http is not None else _nothing))


async def _nothing() -> None:
    """Leave open what the provider's package opened itself: there is no way to close it."""


def _reply(found: dict[str, Any], schema: type[BaseModel]) -> Reply:
    raw, parsed, error = found["raw"], found["parsed"], found["parsing_error"]
    usage = getattr(raw, "usage_metadata", None) or {}
    answer, problem = _checked(parsed, error, schema)
    return Reply(answer, problem, _text(raw), usage.get("input_tokens"), usage.get("output_tokens"))


def _checked(parsed: Any, error: Any, schema: type[BaseModel]) -> tuple[dict[str, Any] | None, str]:
    """Give the answer, or say what is wrong with it."""
    if parsed is None:
        return None, problem_of(error) if error else "There is no answer in the form that was asked for."
    try:
        answer = schema.model_validate(parsed).model_dump(mode="json")
        plain_json(answer)
    except ValueError as problem:
        return None, problem_of(problem)
    size = len(json.dumps(answer))
    if size > MOST_ANSWER_BYTES:
        return None, f"The answer has {size} bytes; it may have {MOST_ANSWER_BYTES}."
    return answer, ""


def problem_of(error: BaseException) -> str:
    """Say what is wrong with an answer, so that a model can mend it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            return "\n".join(
                f"{'.'.join(str(part) for part in each['loc']) or 'the answer'}: {each['msg']}"
                for each in cause.errors(include_url=False, include_context=False, include_input=False)
            )
        cause = cause.__cause__ or cause.__context__
    return f"The answer cannot be read: {error}"


def _text(raw: Any) -> str:
    """Give what the model answered, however it did."""
    content = getattr(raw, "content", "")
    parts = [content if isinstance(content, str) else json.dumps(content, default=str)]
    for call in [*getattr(raw, "tool_calls", []), *getattr(raw, "invalid_tool_calls", [])]:
        given = call.get("args")
        parts.append(given if isinstance(given, str) else json.dumps(given, default=str))
    return "\n".join(part for part in parts if part)
