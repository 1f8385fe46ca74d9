"""What is asked of a server that is tried, and what was seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp_platform.contracts.checks import CallReport, SafeCall
from mcp_platform.contracts.mcps import ToolConfig
from mcp_platform.variables import Variables, references


class TrialFault(Exception):
    """Why a server does not do, in words for who had it tried.

    Args:
        reason: What went wrong.
        passing: Whether it may be that it has only not begun to answer yet.
    """

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class CredentialsAsked(TrialFault):
    """It wants to know who asks, which a trial cannot say."""


@dataclass(frozen=True)
class ApiTools:
    """The tools of a plain HTTP API, as its configuration describes them."""

    tools: Sequence[ToolConfig]
    variables: Variables
    open: bool
    """Whether it is asked without credentials."""

    def reads(self, name: str) -> bool:
        """Tell whether a tool only asks for something (RFC 9110, section 9.2.1), and without secrets."""
        found = next((tool.request for tool in self.tools if tool.name == name), None)
        if found is None or not self.open:
            return False
        return found.method == "GET" and not references(found.model_dump())


@dataclass(frozen=True)
class Subject:
    """A server that can be talked to."""

    url: str = field(repr=False)
    shown_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    remote: bool = False
    """Somebody else's, at an address that somebody named."""
    trusted: bool = False
    """From the catalogue that ships with the platform, and so are the calls that are made."""
    api: ApiTools | None = None
    """Of a plain HTTP API, which does not speak MCP."""
    health_url: str | None = None

    def may_call(self, name: str, tools: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether a call changes nothing, as far as anybody has said."""
        if self.trusted:
            return True
        if self.api is not None:
            return self.api.reads(name)
        annotations = next((tool.get("annotations") for tool in tools if tool.get("name") == name), None)
        return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


@dataclass(frozen=True)
class Seen:
    """What a server offers."""

    era: str
    server_info: dict[str, Any]
    tools: list[dict[str, Any]]
    left_out: int = 0
    """Tools beyond what is taken."""
    call: CallReport | None = None


class Talk(Protocol):
    """Talks to servers that are tried."""

    async def look(self, subject: Subject, call: SafeCall | None, timeout: float) -> Seen:
        """See what a server offers, and what it answers to a call.

        Raises:
            TrialFault: It does not answer as an MCP server does, or not in time.
        """
        ...
