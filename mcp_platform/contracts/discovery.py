"""Tools that were found by what they are for."""

from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract


class ToolFound(Contract):
    """A tool that the caller may call."""

    name: str
    """By which `/mcp/smart` calls it: with the slug in front where several MCPs have a tool of this name."""
    tool: str
    """Its name at its server: `POST /mcp/{slug}/v1/tools/{tool}` calls it."""
    slug: str
    mcp_id: UUID
    title: str | None = None
    description: str = ""
    input_schema: dict[str, Any] = {}
    score: float
    """How well it suits, at most 1; comparable within one answer."""


class ToolsFound(Contract):
    """The tools that suit best, the best first."""

    tools: list[ToolFound]
