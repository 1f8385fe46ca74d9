"""What a model is told of a case: all of it is data, and no credential is in it."""

from typing import Any, Final

from activities.feasibility_rules.findings import short
from activities.feasibility_rules.judging import Case
from activities.feasibility_rules.reading import included_config, without_credentials
from mcp_platform.contracts.analysis import Feasibility
from mcp_platform.contracts.checks import TrialOutcome
from mcp_platform.contracts.models import ModelInput

_DESCRIPTION: Final = 8_000
_TOOLS: Final = 30
_TOOL: Final = 300


def model_input(case: Case, verdict: Feasibility) -> ModelInput:
    """Give the request, what was seen, and what the rules found, cut to what a model needs."""
    idea = case.idea
    request: dict[str, Any] = {
        "name": idea.name,
        "description": idea.description[:_DESCRIPTION],
        "requirements": short(str(idea.requirements), 2_000),
    }
    config = included_config(idea).config
    if config.servers:
        servers = without_credentials(config)["servers"]
        request["servers"] = [short(str(server), 1_000) for server in servers[:5]]
    tools = [
        {
            "server": trial.server,
            "name": short(str(tool.get("name", "")), 64),
            "description": short(str(tool.get("description") or ""), _TOOL),
        }
        for trial in case.trials
        if trial.report.outcome is TrialOutcome.PASSED
        for tool in trial.report.tools
    ]
    return ModelInput(
        sections={
            "request": request,
            "rules": verdict.model_dump(mode="json", include={"rule_score", "risks", "stops", "warnings"}),
            "evidence": [each.model_dump(mode="json") for each in verdict.evidence],
            "tools": tools[:_TOOLS],
        }
    )
