"""What a statement rests on."""

from enum import StrEnum

from mcp_platform.contracts.base import Contract


class SourceKind(StrEnum):
    """Where a statement comes from."""

    REQUEST = "request"
    """What the user said."""
    CATALOGUE = "catalogue"
    """The catalogue of known servers."""
    KNOWLEDGE = "knowledge"
    """A document of the knowledge base."""
    MCP = "mcp"
    """A registered MCP."""
    REGISTRY = "registry"
    """A package registry."""
    TRIAL = "trial"
    """A server that was really started, or really asked."""
    FIGURES = "figures"
    """What was measured of a deployment."""
    REPOSITORY = "repository"
    """Files of a repository."""
    RULE = "rule"
    """A rule of ours."""
    MODEL = "model"
    """A language model's judgement."""


class Evidence(Contract):
    """A statement, and where it comes from."""

    statement: str
    kind: SourceKind
    source: str
    """Names it so that a reader can look it up: `pypi:mcp-server-time 2026.10`, `mcp:weather-tool`."""
