"""Feasibility: what is asked and what is answered."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mcp_platform.contracts.base import Contract, Order


class Idea(BaseModel):
    """What is to be judged: a name, a description, requirements; anything else is kept as evidence."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=255)]
    description: Annotated[str, Field(max_length=20_000)] = ""
    requirements: dict[str, Any] = {}


class AnalyzeFeasibility(Order):
    """Body of `POST /analyze/feasibility`."""

    config: Idea


class FeasibilityOrder(Contract):
    """What the workflow is started with; the idea itself is a document."""

    task_id: str
    idea_key: str
    owner_id: UUID


class IdeaFacts(Contract):
    """An idea, parsed: what it wants to do, in the terms of the rules."""

    idea_key: str
    capabilities: list[str]
    """Such as `database`, `write`, `secrets`, `network`, `shell`, `files`."""
    servers: list[str]
    """How the servers of an included configuration are reached: `command`, `url`, `image`."""
    problems: list[str]
    """What is wrong with an included configuration, in words."""
    words: int
    """Length of the description."""


class KnownMcps(Contract):
    """Registered MCPs that look like the idea: `slug: name`, likest first."""

    similar: list[str]


class JudgeOrder(Contract):
    """Everything that an analyst judges by."""

    idea_key: str
    facts: IdeaFacts
    known: KnownMcps


class Feasibility(Contract):
    """The verdict, as the API shows it; `score` lies between 0 and 1."""

    score: float
    is_feasible: bool
    reasoning: str
    risks: list[str]
    recommendations: list[str]
    engine: Literal["rules", "model"]
