"""Taking the platform's versions to a repository: what is asked, and what came of it."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from mcp_platform.contracts.base import Contract, Order

_LINE = r"^[^\x00-\x1f\x7f]+$"


class PushRequest(Order):
    """Body of `POST /github/push/{connection_id}`; all of it may be left out."""

    tool_id: UUID | None = None
    """The only MCP to push; all that are newer than the repository unless given."""
    title: Annotated[str, Field(min_length=1, max_length=200, pattern=_LINE)] | None = None
    """Of the pull request."""
    message: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """Of the commit."""


class PushOrder(Contract):
    """What the workflow is started with; the request is a document under its task's id."""

    task_id: str
    connection_id: UUID
    owner_id: UUID


class PushItem(Contract):
    """An MCP that is to be written."""

    mcp_id: UUID
    path: str
    entry: str = ""
    new: bool = False
    """Whether there is no such file yet."""


class PushPlan(Contract):
    """What a push has to do, and on which commit."""

    commit: str
    branch: str
    items: list[PushItem]
    unchanged: int
    """Definitions that the platform has not changed since the last sync."""


class PushStep(Contract):
    """Asks to write one MCP."""

    task_id: str
    connection_id: UUID
    commit: str
    item: PushItem


class MootOrder(Contract):
    """Asks to close our pull requests with MCPs that a sync has brought in step with the repository."""

    connection_id: UUID
    mcp_ids: list[UUID]


class PushedDefinition(Contract):
    """What became of one MCP."""

    mcp_id: UUID
    slug: str
    version: str
    path: str
    pushed: bool
    """Whether the repository says now, in a pull request, what the platform says."""
    refused: bool = False
    """Whether it cannot be; `reason` says why."""
    reason: str | None = None
    branch: str | None = None
    commit: str | None = None
    pull_request: int | None = None
    pull_request_url: str | None = None
    updated: bool = False
    """Whether the pull request was there before."""
    closed: list[int] = []
    """Pull requests with earlier versions, which this one takes the place of."""


class PushReport(Contract):
    """The result of a push."""

    connection_id: UUID
    commit: str
    """The newest commit of the branch that the pull requests are for."""
    branch: str
    message: str
    pushed: list[PushedDefinition]
    refused: list[PushedDefinition]
    unchanged: int
