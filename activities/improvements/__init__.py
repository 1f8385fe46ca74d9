"""Suggesting improvements: look at the MCP, judge it by rules, hear a model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.feasibility_rules import without_credentials
from activities.improvements.facts import Facts, Offered
from activities.improvements.figures import can_judge_unused
from activities.improvements.reading import read_config, read_facts, read_mcp
from activities.improvements.rules import score_of, suggestions_of, summary_of
from activities.improvements.texts import short
from activities.improvements.wording import told, with_wording
from mcp_platform.contracts.checks import TrialOutcome
from mcp_platform.contracts.improvements import (
    Checked,
    ConcludeImprovements,
    ImprovementOrder,
    Improvements,
    ImprovementWording,
    JudgeImprovements,
    Looked,
    PackageInUse,
    ServerToTry,
)
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.errors import Unavailable
from mcp_platform.known_servers import is_trusted
from mcp_platform.names import Collection
from mcp_platform.packages import package_of

if TYPE_CHECKING:
    from storage.stores import Stores

_TRIED: Final = 3
"""Servers of one MCP that are tried."""
_LOOKED_UP: Final = 5
_GATEWAY_PATIENCE: Final = 8.0


class ImprovementActivities:
    """The steps; each may be repeated."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @activity.defn(name="improvements.look")
    async def look(self, order: ImprovementOrder) -> Looked:
        """Read the MCP and, where it runs, its tools; tell what is still to be checked."""
        mcp = await read_mcp(self._stores, order.mcp_id)
        _, config = await read_config(self._stores, mcp.config_key)
        offered, running = await self._offered(order)
        key = f"{order.task_id}/offer"
        await self._stores.documents.put(Collection.FINDINGS, key, offered.model_dump(mode="json"))
        draft_key = f"{order.task_id}/1"
        await self._stores.documents.put(Collection.DRAFTS, draft_key, without_credentials(config))
        packages = [(server.name, package_of(server)) for server in config.servers]
        return Looked(
            config_key=mcp.config_key,
            version=mcp.version,
            draft_key=draft_key,
            servers=_to_try(config, running if offered.tools else None),
            packages=[PackageInUse(server=name, question=found) for name, found in packages if found][
                :_LOOKED_UP
            ],
        )

    @activity.defn(name="improvements.judge")
    async def judge(self, order: JudgeImprovements) -> str:
        """Judge by rules; give the key of what a model may be told."""
        facts = await read_facts(self._stores, order)
        found = await asyncio.to_thread(_judged, order, facts)
        task_id = order.order.task_id
        places = {tool.name: tool.place for tool in facts.tools}
        await self._put(task_id, "rules", {"found": found.model_dump(mode="json"), "places": places})
        input_key = f"{task_id}/1"
        await self._stores.documents.put(
            Collection.MODEL_INPUTS, input_key, told(facts, found).model_dump(mode="json")
        )
        return input_key

    @activity.defn(name="improvements.conclude")
    async def conclude(self, order: ConcludeImprovements) -> Improvements:
        """Give the result: what the rules found, with what a model added."""
        body = await self._stores.documents.get(Collection.FINDINGS, f"{order.order.task_id}/rules")
        if body is None:
            raise ApplicationError("the findings are gone", type="FindingsMissing", non_retryable=True)
        found = Improvements.model_validate(body["found"])
        if order.answer is None:
            return found.model_copy(update={"engine_reason": order.engine_reason})
        raw, _ = await read_config(self._stores, found.config_key)
        answer = ImprovementWording.model_validate(order.answer)
        return with_wording(found, answer, body["places"], raw, order.model or "model")

    async def _put(self, task_id: str, name: str, body: dict[str, Any]) -> None:
        await self._stores.documents.put(Collection.FINDINGS, f"{task_id}/{name}", body)

    async def _offered(self, order: ImprovementOrder) -> tuple[Offered, str | None]:
        """Give the tools of what runs, and which server that is."""
        async with self._stores.read() as rows:
            deployment_id = await rows.mcps.deployed(order.mcp_id)
            deployment = await rows.deployments.get(deployment_id) if deployment_id else None
        if deployment is None:
            return Offered(problem="it is not deployed"), None
        try:
            offer = await self._stores.definitions.ask(order.mcp_id, _GATEWAY_PATIENCE)
        except Unavailable as away:
            return Offered(problem=str(away)), None
        offered = Offered(tools=offer.tools, differing=offer.differing, problem=offer.problem)
        return offered, deployment.config.server or ""


def _to_try(config: McpConfig, running: str | None) -> list[ServerToTry]:
    """Give the servers whose tools nothing that runs tells."""
    alone = len(config.servers) == 1
    return [
        ServerToTry(name=server.name, trusted=is_trusted(server))
        for server in config.servers
        if running is None or not (alone or server.name == running)
    ][:_TRIED]


def _judged(order: JudgeImprovements, facts: Facts) -> Improvements:
    suggestions = suggestions_of(facts)
    return Improvements(
        tool_id=facts.mcp.id,
        score=score_of(suggestions),
        engine="rules",
        version=facts.mcp.version,
        config_key=facts.mcp.config_key,
        suggestions=suggestions,
        summary=summary_of(suggestions),
        checked=_checked(order, facts),
    )


def _checked(order: JudgeImprovements, facts: Facts) -> list[Checked]:
    """Tell what could be looked at and what could not: what was not seen is not claimed."""
    offered = facts.offered
    told_of = f"{len(offered.tools)} tools, as they are offered now"
    checked = [
        Checked(what="configuration", looked=True, detail=f"version {facts.mcp.version}"),
        Checked(
            what="running tools",
            looked=bool(offered.tools),
            detail=told_of if offered.tools else offered.problem or "it offers no tools",
        ),
    ]
    for server, report in facts.trials.items():
        seen = report.outcome is TrialOutcome.PASSED
        detail = f"{len(report.tools)} tools in a trial" if seen else f"{report.outcome}: {report.reason}"
        if not seen and report.stderr_tail:
            detail += f"; it last wrote: {short(report.stderr_tail[-1])}"
        checked.append(Checked(what=f"server {server}", looked=seen, detail=detail))
    for package in facts.packages:
        found = package.finding
        detail = f"{found.registry}:{found.name} {found.latest or ''}".strip()
        checked.append(
            Checked(
                what=f"package of {package.server}",
                looked=found.exists is not None,
                detail=detail if found.exists else found.reason or detail,
            )
        )
    calls = sum(usage.requests for usage in facts.usage.values())
    judged = can_judge_unused(facts)
    few = "" if judged else "; too few to say which tools nobody needs"
    checked.append(Checked(what="figures", looked=calls > 0, detail=f"{calls} calls in 7 days{few}"))
    return checked
