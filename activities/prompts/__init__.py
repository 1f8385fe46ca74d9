"""Prompts: a folder for each, with a file for each version, and the schema that its answers fit.

`activities/prompts/<name>/v<N>.md` is what a model is told to do; the newest version is used. What it is
told about is data, and comes in a message of its own.
"""

from pydantic import BaseModel

from mcp_platform.contracts.analysis import FeasibilityOpinion
from mcp_platform.contracts.config_drafts import ConfigDraft
from mcp_platform.contracts.improvements import ImprovementWording

PROMPTS: dict[str, type[BaseModel]] = {
    "feasibility": FeasibilityOpinion,
    "generate-config": ConfigDraft,
    "improvements": ImprovementWording,
}
"""The schema of each prompt's answers."""
