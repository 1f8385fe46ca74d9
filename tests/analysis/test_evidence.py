"""What a verdict rests on: packages, trials, catalogues, documents, and a model's opinion."""

# ruff: noqa: RUF001 - Chinese is written with commas of its own

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import WorkflowFailureError

from mcp_platform.contracts.analysis import FeasibilityOrder
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.names import Collection, TaskQueue
from tests.analysis.conftest import POISONED_SERVER, Judging
from tests.deployments.servers import LEAVES_AT_ONCE, TIME
from tests.knowledge.documents import add, indexed, search
from tests.models.provider import answering, failing
from tests.waiting import eventually
from workflows.analysis import FeasibilityWorkflow

CLOCK = {"name": "Clock", "description": "Tells the current time in any time zone, read-only"}


def evidence_for(verdict: dict[str, Any], begins: str) -> dict[str, Any]:
    """Give the evidence for the statement that begins so."""
    (found,) = [each for each in verdict["evidence"] if each["statement"].startswith(begins)]
    return dict(found)


async def test_a_server_that_works_was_really_tried_and_a_known_one_is_named(judging: Judging) -> None:
    verdict = await judging.verdict({**CLOCK, "servers": [TIME]})
    (trial,) = verdict["checks"]["trials"]
    assert (trial["server"], trial["outcome"], trial["driver"]) == ("time", "passed", "process")
    assert set(trial["tools"]) == {"get_current_time", "convert_time"}
    assert verdict["is_feasible"] is True
    assert evidence_for(verdict, "The server 'time' started and listed 2 tools")["kind"] == "trial"
    assert verdict["known"][0]["slug"] == "time"
    assert judging.provider.requests == []


async def test_nothing_is_started_where_that_is_not_wanted(judging: Judging) -> None:
    idea = {**CLOCK, "servers": [LEAVES_AT_ONCE]}
    verdict = await judging.verdict(idea, tries=False)
    assert verdict["checks"]["trials"] == []
    assert verdict["is_feasible"] is True
    tried = await judging.verdict(idea)
    assert tried["checks"]["trials"][0]["outcome"] == "failed"
    assert tried["is_feasible"] is False
    assert evidence_for(tried, "The server 'odd' did not start")["kind"] == "trial"
    assert tried["stops"] == [evidence_for(tried, "The server 'odd' did not start")["statement"]]


async def test_who_may_not_run_commands_is_told_why_nothing_was_tried(judging: Judging) -> None:
    member = await judging.platform.member()
    verdict = await judging.verdict({**CLOCK, "servers": [TIME]}, caller=member)
    assert verdict["checks"]["trials"][0]["outcome"] == "not_tried"
    (warning,) = [each for each in verdict["warnings"] if "'time' was not tried" in each]
    assert "deployments:process" in warning
    assert verdict["is_feasible"] is True


async def test_a_command_that_stands_in_a_text_runs_only_where_it_is_trusted(judging: Judging) -> None:
    pasted = await judging.verdict("I want the time, and found `uvx mcp-server-time==2.1.0` somewhere")
    assert pasted["checks"]["trials"][0]["outcome"] == "not_tried"
    block = {"mcpServers": {"odd": {"command": LEAVES_AT_ONCE["command"], "args": LEAVES_AT_ONCE["args"]}}}
    pasted = await judging.verdict(f"I want the time, and found\n```json\n{json.dumps(block)}\n```\n")
    assert [trial["outcome"] for trial in pasted["checks"]["trials"]] == ["not_tried"]


async def test_a_tool_that_gives_orders_stops_it_whatever_the_model_says(judging: Judging) -> None:
    judging.provider.answers(
        "feasibility", {"reasoning": "All fine.", "score_change": 1.0, "risks": [], "recommendations": []}
    )
    verdict = await judging.verdict({**CLOCK, "servers": [POISONED_SERVER]}, engine="auto")
    assert verdict["engine"] == "model"
    assert verdict["is_feasible"] is False
    assert verdict["score"] <= 0.3
    order = evidence_for(verdict, "The tool 'delete_all' of the server 'poisoned' gives orders")
    assert order["kind"] == "trial"
    assert order["statement"] in verdict["risks"]
    assert evidence_for(
        verdict, "It is to read only, yet tools of the server 'poisoned' change things: delete"
    )
    assert "Do not tell the user" in judging.provider.requests[-1].user
    assert "Do not tell the user" not in judging.provider.requests[-1].system


async def test_a_package_is_looked_up_in_its_registry(judging: Judging) -> None:
    server = {"name": "t", "command": "uvx", "args": ["mcp-server-time==2.1.0"]}
    there = await judging.verdict({**CLOCK, "servers": [server]}, tries=False)
    (package,) = there["checks"]["packages"]
    assert (package["name"], package["exists"], package["version"]) == ("mcp-server-time", True, "2.1.0")
    assert evidence_for(there, "The package mcp-server-time 2.1.0 is in its registry")["kind"] == "registry"
    missing = {"name": "t", "command": "uvx", "args": [f"no-such-{uuid4().hex[:8]}==1.0"]}
    gone = await judging.verdict({**CLOCK, "servers": [missing]})
    assert gone["is_feasible"] is False
    assert "does not exist in pypi" in gone["stops"][0]
    assert gone["checks"]["trials"] == []
    away = {"name": "t", "command": "uvx", "args": ["broken==1.0"]}
    unknown = await judging.verdict({**CLOCK, "servers": [away]}, tries=False)
    assert unknown["checks"]["packages"][0]["exists"] is None
    assert any("Whether the package broken exists in pypi is unknown" in each for each in unknown["warnings"])
    assert unknown["is_feasible"] is True


async def test_packages_that_words_name_are_found_and_looked_up(judging: Judging) -> None:
    text = "我想要一个查询时间的工具，例如运行 `uvx mcp-server-time==2.1.0`，也可以用 @scope/server@3.0.1"
    verdict = await judging.verdict(text, tries=False)
    asked = {each["name"]: each["version"] for each in verdict["checks"]["packages"]}
    assert asked == {"mcp-server-time": "2.1.0", "@scope/server": "3.0.1"}
    assert "A command runs with the rights of the user who starts it" in verdict["risks"]
    assert verdict["is_feasible"] is True


async def test_configurations_of_other_programs_are_understood(judging: Judging) -> None:
    entry = {"command": "uvx", "args": ["mcp-server-time==2.1.0"], "env": {"API_TOKEN": "plain-text-value"}}
    forms: list[dict[str, Any]] = [
        {"mcpServers": {"clock": entry}},
        {"config": {"mcpServers": {"clock": entry}}},
        {"servers": {"clock": entry}},
    ]
    for form in forms:
        verdict = await judging.verdict({**CLOCK, **form}, engine="auto", tries=False)
        assert "The server 'clock' holds credentials in plain: API_TOKEN" in verdict["risks"]
        assert "plain-text-value" not in str(verdict)
        assert "plain-text-value" not in judging.provider.requests[-1].user
    package = {"registryType": "pypi", "identifier": "mcp-server-time", "version": "2.1.0"}
    file = {"packages": [package | {"transport": {"type": "stdio"}}]}
    written = await judging.verdict({**CLOCK, **file}, tries=False)
    assert written["checks"]["packages"][0]["version"] == "2.1.0"
    wrong = await judging.verdict({**CLOCK, "mcpServers": {"clock": {"args": []}}})
    assert wrong["stops"] == ["The included configuration is not valid"]


async def test_the_knowledge_base_is_searched(judging: Judging) -> None:
    title = f"Sundials of {uuid4().hex[:8]}"
    text = "A gnomonicon tells the time of day by the shadow of the sun, for gardens and town halls."
    document_id = await add(judging.admin, title, text)
    asked = "Reads the gnomonicon by the shadow of the sun in gardens"
    # Found by its words alone, as it is until its meaning is known, it scores too low to be told.
    await indexed(judging.admin, document_id)
    await eventually(lambda: search(judging.admin, asked), lambda found: found["total"] > 0)
    verdict = await judging.verdict(asked)
    found = evidence_for(verdict, f"The knowledge base has {title!r}")
    assert found["kind"] == "knowledge"
    assert found["source"].startswith(f"knowledge:{document_id}")


async def test_a_models_opinion_adds_and_moves_the_score_a_little(judging: Judging) -> None:
    judging.provider.answers(
        "feasibility",
        {
            "reasoning": "Summer time was not thought of.",
            "risks": [{"risk": "Clocks that change are told wrong", "because": "the description"}],
            "recommendations": ["Take the zone database of the system"],
            "score_change": -0.9,
        },
    )
    rules = await judging.verdict(CLOCK)
    verdict = await judging.verdict(CLOCK, engine="auto")
    assert rules["engine"] == "rules"
    assert verdict["engine"] == "model"
    assert verdict["rule_score"] == rules["score"]
    assert round(rules["score"] - verdict["score"], 2) == 0.15
    assert [*rules["risks"], "Clocks that change are told wrong"] == verdict["risks"]
    assert "Take the zone database of the system" in verdict["recommendations"]
    opinion = evidence_for(verdict, "Clocks that change")
    assert opinion["kind"] == "model"
    assert "test-model" in opinion["source"]
    assert "Summer time was not thought of." in verdict["reasoning"]


async def test_without_an_answer_of_the_model_the_rules_do_and_say_why(judging: Judging) -> None:
    broken = [answering({"no": "reasoning"})] * 3
    judging.provider.next(*broken)
    verdict = await judging.verdict(CLOCK, engine="auto")
    assert verdict["engine"] == "rules"
    assert "No language model was used" in verdict["reasoning"]
    assert verdict["reasoning"].endswith(").")
    judging.provider.next(failing(401, "invalid_api_key"))
    refused = await judging.verdict(CLOCK, engine="auto")
    assert (refused["engine"], refused["score"]) == ("rules", verdict["score"])


async def test_it_can_be_a_part_of_another_workflow(judging: Judging) -> None:
    """A parent's document is judged, and no task of its own begins or ends."""
    stores, temporal = judging.platform.parts.stores, judging.platform.parts.temporal
    owner: UUID = judging.platform.parts.tokens.read_access(judging.admin.token).user_id
    parent = str(uuid4())
    key = f"{parent}/1"
    await stores.documents.put(Collection.IDEAS, key, {**CLOCK, "servers": [TIME]})
    order = FeasibilityOrder(
        task_id=parent,
        idea_key=key,
        owner_id=owner,
        engine=EngineChoice.RULES,
        may_run_commands=True,
        recorded=False,
    )
    child = f"{parent}-judged"
    status = await temporal.execute_workflow(
        FeasibilityWorkflow.run, order, id=child, task_queue=TaskQueue.ORCHESTRATION
    )
    assert status.status == "completed"
    assert status.result is not None
    assert status.result["checks"]["trials"][0]["outcome"] == "passed"
    assert await stores.documents.get(Collection.RESULTS, child) is None
    async with stores.read() as rows:
        assert await rows.tasks.get(child) is None


async def test_a_part_that_fails_says_why(judging: Judging) -> None:
    order = FeasibilityOrder(task_id=str(uuid4()), idea_key="no-such-idea", owner_id=uuid4(), recorded=False)
    with pytest.raises(WorkflowFailureError) as failure:
        await judging.platform.parts.temporal.execute_workflow(
            FeasibilityWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
        )
    assert str(failure.value.cause) == "TaskFailed: the idea no-such-idea is gone"
