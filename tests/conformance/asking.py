"""How the fixture asks its client: by requests in the older protocol, by rounds in 2026-07-28."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel, ValidationError

MODERN: Final = "2026-07-28"
_KEY: Final = secrets.token_bytes(32)
_CAPABILITY: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
_KINDS: Final[dict[str, tuple[type[types.ServerRequest], type[BaseModel]]]] = {
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}

Context = ServerRequestContext[Any, Any]


class InputNeeded(Exception):
    """The client is to ask again, with these answers."""

    def __init__(self, requests: dict[str, Any], state: str) -> None:
        super().__init__("input needed")
        self.result = types.InputRequiredResult.model_validate(
            {"resultType": "input_required", "inputRequests": requests, "requestState": state}
        )


class Asking:
    """The answers that a request brings with it, and the way to get others."""

    def __init__(self, ctx: Context, params: Any) -> None:
        self._ctx = ctx
        self.modern = ctx.protocol_version == MODERN
        self._kept: dict[str, Any] = {}
        self.had_state = False
        self._brought: dict[str, Any] = {}
        if self.modern:
            if params.request_state is not None:
                self._kept = _open(params.request_state)
                self.had_state = True
            self._brought = (ctx.params or {}).get("inputResponses") or {}

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared."""
        declared = self._ctx.session.client_capabilities
        return declared.model_dump(by_alias=True, exclude_none=True) if declared else {}

    async def ask(self, **requests: dict[str, Any]) -> dict[str, Any]:
        """Give the answers by the requests' names.

        Raises:
            MCPError: The client did not declare that it can be asked this.
            InputNeeded: The client of the modern protocol has not answered yet.
        """
        for request in requests.values():
            self.need(_CAPABILITY[request["method"]])
        if not self.modern:
            return {name: await self._ask_now(request) for name, request in requests.items()}
        found = {
            name: self._brought[name]
            for name, request in requests.items()
            if name in self._brought and _fits(request["method"], self._brought[name])
        }
        answers = {**self._kept, **found}
        missing = {name: request for name, request in requests.items() if name not in answers}
        self._kept = answers
        if missing:
            raise InputNeeded(missing, _seal(answers))
        return {name: answers[name] for name in requests}

    def need(self, capability: str) -> None:
        """Refuse unless the client declared a capability."""
        if capability not in self.capabilities:
            required: dict[str, Any] = {"requiredCapabilities": {capability: {}}}
            message = f"This needs the client capability {capability!r}"
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, required)

    async def _ask_now(self, request: dict[str, Any]) -> dict[str, Any]:
        kind, answer = _KINDS[request["method"]]
        related = ServerMessageMetadata(related_request_id=self._ctx.request_id)
        sent = kind.model_validate(request)
        given = await self._ctx.session.send_request(sent, answer, metadata=related)
        return given.model_dump(mode="json", by_alias=True, exclude_none=True)


def _fits(method: str, answer: object) -> bool:
    try:
        _KINDS[method][1].model_validate(answer)
    except ValidationError:
        return False
    return True


def _seal(answers: dict[str, Any]) -> str:
    body = base64.urlsafe_b64encode(json.dumps(answers).encode())
    return f"{body.decode()}.{hmac.new(_KEY, body, hashlib.sha256).hexdigest()}"


def _open(state: str) -> dict[str, Any]:
    body, _, signature = state.partition(".")
    good = hmac.new(_KEY, body.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good.encode(), signature.encode()):
        raise MCPError(types.INVALID_PARAMS, "The request state was changed on the way")
    kept: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body))
    return kept
