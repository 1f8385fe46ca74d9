"""Who changed what: an entry of the audit log for each request that may change something.

The entry is written after the handler and before the answer's first byte, so that nobody is told of a
success that the log does not know. It never holds what a request or an answer says, only who, what
and on which resource: bodies are full of secrets.
"""

import json
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.applications import Starlette
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.audit_recorder import AuditRecorder
from mcp_platform.audit_refusals import Refusals
from mcp_platform.client_address import client_address
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.request_context import current_request_id

_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PREFIX: Final = "/api/v1/"
_DENIED: Final = frozenset({401, 403, 429})
_LARGEST_READ: Final = 65_536
_TOO_MANY: Final = 429
_TYPES: Final = {
    "mcps": "mcp_tool",
    "import": "mcp_tool",
    "openapi": "mcp_tool",
    "known-servers": "mcp_tool",
    **dict.fromkeys(("feasibility", "improvements", "generate-config", "from-task"), "task"),
    "upload": "document",
    **dict.fromkeys(("connect", "disconnect", "sync", "push"), "connection"),
    **dict.fromkeys(("login", "token", "refresh", "logout"), "session"),
    **dict.fromkeys(("register", "me", "password", "mfa", "confirm", "recovery-codes"), "user"),
}
"""What a path's segment stands for, where that is not the segment without its plural `s`."""
_IDS: Final = {
    "deployment_id": "deployment",
    "task_id": "task",
    "document_id": "document",
    "connection_id": "connection",
    "id": "",
}
"""Where an answer says what was made, and what that is; by the path where it does not say."""
_SAID: Final = ("error_code", "required_permission")
"""What is taken from an error's answer: words of our own."""


@dataclass
class _Note:
    """What is known so far of the request that is being served."""

    actor_id: UUID | None = None
    actor_name: str = ""
    credential: str = ""
    resource: tuple[str, str] | None = None


_current: ContextVar[_Note | None] = ContextVar("audit_note", default=None)


async def reads_only() -> None:
    """Declare that a POST changes nothing, such as a search: it is not recorded."""


def acting(principal: Principal) -> None:
    """Say who makes the request that is being served."""
    if note := _current.get():
        note.actor_id = principal.user_id
        note.actor_name = principal.username
        note.credential = principal.credential


def signing_in(name: str, user_id: UUID | None = None, credential: str = "") -> None:
    """Say who tries to sign in, and, once that is proven, which account it is and by what credential."""
    if note := _current.get():
        note.actor_name, note.actor_id, note.credential = name, user_id, credential


def about(resource_type: str, resource_id: object) -> None:
    """Say what the request is about, where neither its path nor its answer's id tells."""
    if note := _current.get():
        note.resource = (resource_type, str(resource_id))


class AuditTrail:
    """Has an entry written for each request beneath `/api/v1` that may change something.

    What meets no route changes nothing, and is left out: the log is no list of scanners. Of refusals
    for too many requests the first of each minute is recorded, by who, from where and what; the next
    entry says how many were left out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._actions: list[_Action] | None = None
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        changing = scope["type"] == "http" and scope["method"] in _CHANGING
        action = self._action(scope) if changing and scope["path"].startswith(_PREFIX) else None
        if action is None:
            await self._app(scope, receive, send)
            return
        note = _Note()
        answer = _Answer(scope, send, action, note, self._refusals)
        known = _current.set(note)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            # Rendered further out, and no other entry will tell of it.
            await answer.record(500, b"")
            raise
        finally:
            _current.reset(known)

    def _action(self, scope: Scope) -> "_Action | None":
        if self._actions is None:
            self._actions = list(_actions_of(scope["app"]))
        for action in self._actions:
            if scope["method"] in action.methods and action.pattern.match(scope["path"]):
                return None if action.reads_only else action
        return None


@dataclass(frozen=True)
class _Action:
    """What a route does, as the log calls it."""

    name: str
    path: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    reads_only: bool

    def resource(self, path: str) -> tuple[str, str]:
        """Tell what a request to this path is about: the last thing that the path names."""
        given = self.pattern.match(path)
        names = given.groupdict() if given else {}
        segments = [segment for segment in self.path.split("/") if segment]
        for place in range(len(segments) - 1, 0, -1):
            name = segments[place].strip("{}").partition(":")[0]
            if segments[place].startswith("{"):
                return _type_of(segments[place - 1]), str(names.get(name, ""))
        return _type_of(segments[-1]), ""


@dataclass
class _Answer:
    """Holds an answer's beginning back until its entry is written."""

    scope: Scope
    sender: Send
    action: _Action
    note: _Note
    refusals: Refusals
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _head: Message | None = None
    _recorded: bool = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._head is not None:
            head, self._head = self._head, None
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await self.record(head["status"], message.get("body", b"") if whole else b"")
            await self.sender(head)
        await self.sender(message)

    async def record(self, status: int, body: bytes) -> None:
        """Have the entry written, once."""
        if self._recorded:
            return
        self._recorded = True
        parts = self.scope["app"].state.parts
        recorder: AuditRecorder = parts.audit
        address = client_address(self.scope, parts.settings.api.trusted_proxies)
        said = _read(body)
        details: dict[str, Any] = {name: said[name] for name in _SAID if status >= 400 and name in said}
        if status == _TOO_MANY:
            left_out = self.refusals.count(self.note.credential, address, self.action.name)
            if left_out is None:
                return
            details["left_out"] = left_out
        resource_type, resource_id = self._resource(status, said)
        event = AuditEvent(
            at=self.began,
            actor_id=self.note.actor_id,
            actor_name=self.note.actor_name,
            credential=self.note.credential,
            action=self.action.name,
            resource_type=resource_type,
            resource_id=resource_id,
            address=address,
            outcome=_outcome_of(status),
            status=status,
            request_id=current_request_id(),
            details=details,
        )
        await recorder.record(event)

    def _resource(self, status: int, said: dict[str, Any]) -> tuple[str, str]:
        if self.note.resource is not None:
            return self.note.resource
        kind, name = self.action.resource(self.scope["path"])
        if name or status >= 400:
            return kind, name
        for key, told in _IDS.items():
            if isinstance(said.get(key), str):
                return told or kind, said[key]
        # One's own account, or session.
        own = {"user": str(self.note.actor_id or ""), "session": self.note.credential.partition(":")[2]}
        return kind, own.get(kind, "")


def _actions_of(app: Starlette) -> Iterator[_Action]:
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute) or not (route.path or "").startswith(_PREFIX):
            continue
        endpoint = route.original_route.endpoint
        yield _Action(
            # Its room, a module beneath `api.v1`, and the route's function.
            name=f"{endpoint.__module__.split('.')[2]}.{endpoint.__name__}",
            path=route.path or "",
            methods=frozenset(route.methods or ()),
            pattern=compile_path(route.path_format or "")[0],
            reads_only=reads_only in _dependencies(route.dependant),
        )


def _dependencies(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _dependencies(dependency)


def _type_of(segment: str) -> str:
    return _TYPES.get(segment) or segment.replace("-", "_").removesuffix("s")


def _outcome_of(status: int) -> AuditOutcome:
    if status < 400:
        return AuditOutcome.SUCCESS
    return AuditOutcome.DENIED if status in _DENIED else AuditOutcome.FAILED


def _read(body: bytes) -> dict[str, Any]:
    """Read an answer's fields; none where it is not an object of moderate size."""
    if not body.startswith(b"{") or len(body) > _LARGEST_READ:
        return {}
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
