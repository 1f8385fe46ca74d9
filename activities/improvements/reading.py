"""Reading what is known of an MCP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from activities.improvements.facts import Facts, Offered, Package, Tool, Usage
from mcp_platform.contracts.checks import TrialOutcome, TrialReport
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.contracts.improvements import JudgeImprovements
from mcp_platform.contracts.mcps import Mcp, McpConfig, ToolConfig
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from uuid import UUID

    from storage.stores import Stores

DAYS: Final = timedelta(days=7)
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


async def read_mcp(stores: Stores, mcp_id: UUID) -> Mcp:
    """Read the MCP.

    Raises:
        ApplicationError: It is gone.
    """
    async with stores.read() as rows:
        mcp = await rows.mcps.get(mcp_id)
    if mcp is None:
        raise ApplicationError("the MCP is gone", type="McpMissing", non_retryable=True)
    return mcp


async def read_config(stores: Stores, key: str) -> tuple[dict[str, Any], McpConfig]:
    """Read a configuration, as it was given and as it is understood.

    Raises:
        ApplicationError: It is gone, or no rule of today understands it.
    """
    raw = await stores.documents.get(Collection.CONFIGS, key)
    if raw is None:
        raise ApplicationError("the configuration is gone", type="ConfigMissing", non_retryable=True)
    try:
        return raw, McpConfig.model_validate(raw)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        reason = f"the configuration is not valid any more: {place}: {first['msg']}; change it first"
        raise ApplicationError(reason, type="ConfigInvalid", non_retryable=True) from None


async def read_facts(stores: Stores, order: JudgeImprovements) -> Facts:
    """Read everything that the rules go by."""
    mcp = await read_mcp(stores, order.order.mcp_id)
    # As it was when the checks began: what they found belongs to that configuration.
    mcp = mcp.model_copy(update={"config_key": order.looked.config_key, "version": order.looked.version})
    raw, config = await read_config(stores, mcp.config_key)
    body = await stores.documents.get(Collection.FINDINGS, f"{order.order.task_id}/offer")
    offered = Offered.model_validate(body or {})
    now = datetime.now(UTC)
    async with stores.read() as rows:
        deployment_id = await rows.mcps.deployed(mcp.id)
        deployment = await rows.deployments.get(deployment_id) if deployment_id else None
        replicas = await rows.deployments.replicas(deployment_id) if deployment_id else []
        sums = await rows.tool_figures.tools(now, DAYS, [mcp.id], None)
    trials = {server.name: report for server, report in zip(order.looked.servers, order.trials, strict=True)}
    return Facts(
        mcp=mcp,
        raw=raw,
        config=config,
        tools=_tools(mcp, config, offered, trials),
        offered=offered,
        usage={
            name: Usage(
                each.requests,
                each.errors,
                each.latency_ms / max(each.requests, 1),
                each.histogram.quantile(0.95),
            )
            for (_, name), each in sums.items()
        },
        deployment=deployment,
        replicas=replicas,
        packages=[
            Package(used.server, used.question, finding)
            for used, finding in zip(order.looked.packages, order.findings, strict=True)
        ],
        trials=trials,
        days=min(now - deployment.deployed_at, DAYS).total_seconds() / 86_400 if deployment else 0.0,
    )


def _tools(mcp: Mcp, config: McpConfig, offered: Offered, trials: Mapping[str, TrialReport]) -> list[Tool]:
    """Give the tools as they were seen; as they are described where nobody saw any."""
    written = {tool.name: place for place, tool in enumerate(config.tools) if tool.request is not None}
    found = [
        Tool(name, definition, SourceKind.TRIAL, f"gateway:{mcp.slug}")
        for name, definition in offered.tools.items()
        if name not in written
    ]
    for server, report in trials.items():
        if report.outcome is not TrialOutcome.NOT_TRIED:
            found += [
                Tool(tool["name"], tool, SourceKind.TRIAL, f"trial:{server}", server)
                for tool in report.tools
                if tool["name"] not in written
            ]
    described = list(written.values()) if found or written else list(range(len(config.tools)))
    for place in described:
        tool = config.tools[place]
        known = offered.tools.get(tool.name, {})
        source = f"mcp:{mcp.slug} {mcp.version} tools/{place}"
        found.append(Tool(tool.name, _defined(tool, known), SourceKind.MCP, source, place=place))
    return found


def _defined(tool: ToolConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """Write a tool as its author describes it; what its method promises stands in its annotations."""
    given = known.get("annotations") or (tool.model_extra or {}).get("annotations")
    annotations = dict(given) if isinstance(given, dict) else {}
    if tool.request is not None:
        annotations.setdefault("readOnlyHint", tool.request.method in _READING)
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "annotations": annotations,
    }
