"""Feasibility analyses by the built-in rules, through the API."""

from typing import Any
from uuid import uuid4

import pytest

from tests.platform import Caller, RunningPlatform

DATABASE_TOOL = {
    "name": "Database Query Tool",
    "description": "Execute SQL queries on production database",
    "requirements": {"database_access": True, "read_only": False},
}
"""The contract's example."""

DATABASE_RISK = "Direct database access poses security risks"
WRITE_RISK = "Write operations could corrupt data"


@pytest.fixture(scope="module")
async def member(platform: RunningPlatform) -> Caller:
    """Give a developer, the same for the tests of one module."""
    return await platform.member()


async def judged(caller: Caller, **idea: Any) -> dict[str, Any]:
    """Have an idea judged; the verdict."""
    answer = await caller.post("/api/v1/analyze/feasibility", json={"config": {"name": "An idea", **idea}})
    assert answer.status_code == 202, answer.text
    task = await caller.task_is(answer.json()["task_id"], "completed", "failed")
    assert task["status"] == "completed", task
    verdict: dict[str, Any] = task["result"]
    return verdict


async def test_an_analysis_is_accepted_with_the_contracts_fields(member: Caller) -> None:
    answer = await member.post("/api/v1/analyze/feasibility", json={"config": DATABASE_TOOL})
    assert answer.status_code == 202
    accepted = answer.json()
    await member.task_is(accepted.pop("task_id"), "completed")
    assert accepted == {"status": "pending", "message": "Feasibility analysis queued for processing"}


async def test_the_contracts_example_gets_a_verdict_that_says_no_model_was_used(
    member: Caller,
) -> None:
    verdict = await judged(member, **DATABASE_TOOL)
    contract = {"score", "is_feasible", "reasoning", "risks", "recommendations", "engine"}
    ours = {"rule_score", "stops", "evidence", "similar", "known", "checks", "warnings"}
    assert set(verdict) == contract | ours
    assert 0.5 <= verdict["score"] < 1
    assert verdict["is_feasible"] is True
    assert "No language model was used" in verdict["reasoning"]
    assert verdict["engine"] == "rules"
    assert {DATABASE_RISK, WRITE_RISK} <= set(verdict["risks"])
    assert set(verdict["recommendations"]) >= {
        "Implement read-only mode by default",
        "Add query validation and sanitization",
        "Use connection pooling for performance",
    }


async def test_the_same_idea_gets_the_same_verdict(platform: RunningPlatform) -> None:
    one, other = await platform.member(), await platform.member()
    assert await judged(one, **DATABASE_TOOL) == await judged(other, **DATABASE_TOOL)


async def test_explicit_requirements_win_over_the_words(member: Caller) -> None:
    text = "Query the SQL database and update its rows for the support team"
    free = await judged(member, description=text)
    assert {DATABASE_RISK, WRITE_RISK} <= set(free["risks"])
    reading = await judged(member, description=text, requirements={"read_only": True})
    assert DATABASE_RISK in reading["risks"]
    assert WRITE_RISK not in reading["risks"]
    without = await judged(
        member, description=text, requirements={"read_only": True, "database_access": False}
    )
    assert DATABASE_RISK not in without["risks"]
    assert free["score"] < reading["score"] < without["score"]
    plain = "Tells which day of the week a date falls on"
    told = await judged(member, description=plain, requirements={"database_access": True})
    assert DATABASE_RISK in told["risks"]
    assert DATABASE_RISK not in (await judged(member, description=plain))["risks"]


async def test_an_idea_that_runs_free_commands_on_production_is_not_feasible(
    member: Caller,
) -> None:
    text = "Let the model run shell commands on production machines to delete customers from the database"
    verdict = await judged(member, description=text)
    assert verdict["is_feasible"] is False
    assert verdict["score"] < 0.5
    assert "does not look feasible" in verdict["reasoning"]


async def test_a_hardly_described_idea_gets_a_guess_that_says_so(member: Caller) -> None:
    verdict = await judged(member, name="Thing")
    assert any("hardly described" in risk for risk in verdict["risks"])
    assert verdict["recommendations"][0].startswith("Say in a sentence or two")


async def test_chinese_is_understood(member: Caller) -> None:
    verdict = await judged(member, name="数据库工具", description="查询生产环境的数据库并删除过期的客户记录")
    assert {DATABASE_RISK, WRITE_RISK, "Errors reach production systems at once"} <= set(verdict["risks"])
    assert not any("hardly described" in risk for risk in verdict["risks"])
    assert "数据库工具" in verdict["reasoning"]
    told = await judged(member, description="报告今天的天气情况", requirements={"来源": ["文件"]})
    assert "File access can leak or overwrite what it was not meant to see" in told["risks"]


async def test_an_included_configuration_that_is_wrong_is_reported(member: Caller) -> None:
    text = "Tells which day of the week a date falls on"
    right = [{"name": "days", "command": "days-server"}]
    good = await judged(member, description=text, servers=right)
    assert "A command runs with the rights of the user who starts it" in good["risks"]
    bad = await judged(member, description=text, servers=[{"name": "days"}])
    assert "The included configuration is not valid" in bad["risks"]
    assert bad["recommendations"][0].startswith("Correct the configuration: servers.0: ")
    assert "exactly one of" in bad["recommendations"][0]
    assert bad["score"] < good["score"]


async def test_registered_mcps_that_do_the_same_are_recommended(member: Caller) -> None:
    mark = uuid4().hex[:10]
    near = await member.register_mcp({}, name=f"Heron{mark} watching", description="Where herons stand")
    await member.register_mcp({}, name=f"Bakery{uuid4().hex[:10]}", description="Where bread is baked")
    verdict = await judged(member, name=f"heron{mark}", description=f"Watching heron{mark} from far away")
    advice = " ".join(verdict["recommendations"])
    assert "Look first whether a registered MCP does it already" in advice
    assert f"{near['slug']}: Heron{mark} watching" in advice
    assert "Bakery" not in advice


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, ["body", "config"]),
        ({"config": {}}, ["body", "config", "name"]),
        ({"config": {"name": ""}}, ["body", "config", "name"]),
        ({"config": {"name": "x" * 256}}, ["body", "config", "name"]),
        ({"config": {"name": "x", "description": "x" * 20_001}}, ["body", "config", "description"]),
        ({"config": {"name": "x", "requirements": "fast"}}, ["body", "config", "requirements"]),
        ({"config": "an idea"}, ["body", "config"]),
        ({"config": {"name": "x"}, "confg": 1}, ["body", "confg"]),
        ({"config": {"name": "x"}, "description": "An idea"}, ["body", "config"]),
        ({"config": None}, ["body", "config"]),
        ({"description": " \n"}, ["body", "description"]),
        ({"description": "x" * 20_001}, ["body", "description"]),
        ({"description": "An idea", "engine": "llama"}, ["body", "engine"]),
        ({"description": "An idea", "try": "yes"}, ["body", "try"]),
    ],
)
async def test_an_idea_of_the_wrong_shape_is_refused(
    member: Caller, body: dict[str, Any], place: list[str]
) -> None:
    answer = await member.post("/api/v1/analyze/feasibility", json=body)
    assert answer.status_code == 422
    assert answer.json()["error_code"] == "VALIDATION_ERROR"
    assert place in [problem["loc"] for problem in answer.json()["detail"]]


async def test_an_idea_with_fields_of_its_own_is_kept_as_evidence(member: Caller) -> None:
    verdict = await judged(member, description="Tells the day of the week", auth="OAuth tokens of users")
    assert "Credentials can leak through configurations, logs and answers" in verdict["risks"]
