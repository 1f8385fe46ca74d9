"""Configurations for requests in words, by rules alone."""

from typing import Any

import pytest

from tests.generation.asking import UNTRIED, Containers, Generating, package
from tests.platform import Caller, RunningPlatform

WEATHER = {
    "tool_type": "weather",
    "features": ["current_weather", "forecast", "alerts"],
    "data_sources": ["openweathermap"],
}
"""The contract's example."""


async def test_a_known_server_is_taken_tried_and_called(generating: Generating) -> None:
    result = await generating.result(description="Tell the current time in any time zone", engine="rules")
    assert result["config"] == {
        "servers": [{"name": "time", "command": "uvx", "args": ["mcp-server-time==2026.10.19"]}]
    }
    assert (result["slug"], result["name"], result["version"]) == ("time", "Time", "1.0.0")
    assert result["engine"] == "rules"
    assert result["tools"] == ["get_current_time", "convert_time"]
    assert {(each["what"], each["outcome"]) for each in result["verified"]} == {
        ("schema", "passed"),
        ("package", "passed"),
        ("trial", "passed"),
        ("call", "passed"),
    }
    assert result["warnings"] == []
    assert result["secrets"] == []
    assert {each["kind"] for each in result["sources"]} == {"catalogue", "registry", "trial"}
    assert result["sources"][0]["source"] == "catalogue:time"
    assert "time" not in [each["slug"] for each in result["alternatives"]]
    assert generating.provider.requests == []


async def test_a_certain_match_is_taken_though_a_model_could_be_asked(generating: Generating) -> None:
    result = await generating.result(description="What time is it in Tokyo? I need time zone conversion")
    assert result["config"]["servers"][0]["name"] == "time"
    assert result["engine"] == "rules"
    assert generating.provider.requests == []


async def test_a_request_in_chinese_finds_the_server(generating: Generating) -> None:
    result = await generating.result(description="我需要查询不同时区的当前时间", engine="rules")
    assert result["config"]["servers"][0]["args"] == ["mcp-server-time==2026.10.19"]
    assert "时区" in result["description"]
    assert "是已知的 MCP 服务器" in result["explanation"]


async def test_the_contracts_example_gets_a_server_that_may_do(generating: Generating) -> None:
    answer = await generating.admin.post(
        "/api/v1/analyze/generate-config", json={"requirements": WEATHER, "engine": "rules", "try": False}
    )
    accepted = answer.json()
    task = await generating.admin.task_is(accepted.pop("task_id"), "completed", "failed")
    assert accepted == {"status": "pending", "message": "Configuration generation queued for processing"}
    assert task["status"] == "completed", task["error"]
    assert task["result"]["config"]["servers"][0]["name"] == "weather"
    assert any("It is not certain that" in warning for warning in task["result"]["warnings"])


async def test_a_name_and_a_slug_are_as_they_are_wished(generating: Generating) -> None:
    wish: dict[str, Any] = {
        "requirements": {"features": ["current time", "time zone"]},
        "name": "World Clock",
    }
    result = await generating.result(**wish, engine="rules")
    assert (result["name"], result["slug"]) == ("World Clock", "world-clock")
    result = await generating.result(**wish, slug="clock", engine="rules", **UNTRIED)
    assert result["slug"] == "clock"


async def test_without_a_trial_nothing_is_started_and_that_is_said(generating: Generating) -> None:
    result = await generating.result(description="current time", engine="rules", **UNTRIED)
    assert ("trial", "not_tried") in {(each["what"], each["outcome"]) for each in result["verified"]}
    assert "Its server was not tried, as the request wished." in result["warnings"]


async def test_a_known_server_that_does_not_start_here_is_told_with_a_warning(
    generating: Generating,
) -> None:
    generating.registry.documents["/pypi/mcp-server-git/json"] = {"info": "odd", "releases": 7}
    result = await generating.result(
        description="Read, search and change Git repositories with a git MCP server", engine="rules"
    )
    assert result["config"]["servers"][0]["name"] == "git"
    assert result["warnings"][0].startswith("It did not pass its trial: ")
    assert ("trial", "failed") in {(each["what"], each["outcome"]) for each in result["verified"]}


async def test_what_nobody_knows_fails_with_what_would_help(generating: Generating) -> None:
    error = await generating.error(description="Steer the coffee machine of the third floor", engine="rules")
    assert "Steer the coffee machine of the third floor" in error
    assert "What would help: the name of the service that is to be reached" in error
    assert "No language model was used: the request says engine: rules" in error


async def test_progress_grows_and_ends_at_a_hundred(generating: Generating) -> None:
    task = await generating.task(description="current time", engine="rules", **UNTRIED)
    assert (task["progress"], task["message"]) == (100, "Completed")


async def test_a_slug_that_is_taken_is_told_and_another_is_given(generating: Generating) -> None:
    await generating.admin.register_mcp({}, slug="taken-clock")
    result = await generating.result(
        description="current time", slug="taken-clock", engine="rules", **UNTRIED
    )
    assert result["slug"] == "taken-clock-2"
    assert "The slug taken-clock is taken; taken-clock-2 is free." in result["warnings"]


async def test_a_member_who_may_run_no_commands_gets_a_trial_of_our_own_catalogue(
    generating: Generating,
) -> None:
    member = await generating.platform.member()
    result = await generating.result(member, description="current time", engine="rules")
    assert ("trial", "passed") in {(each["what"], each["outcome"]) for each in result["verified"]}


async def test_a_known_server_that_is_not_trusted_is_neither_run_nor_lent_secrets_silently(
    generating: Generating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "here", False)
    generating.registry.documents["/pypi/mcp-obsidian/json"] = package("mcp-obsidian", "0.2.3")
    member = await generating.platform.member()
    answer = await member.put("/api/v1/secrets/OBSIDIAN_API_KEY", json={"value": "a value of mine"})
    assert answer.status_code in {200, 201}, answer.text
    result = await generating.result(member, description="Search my Obsidian notes", engine="rules")
    assert result["config"]["servers"][0]["args"] == ["mcp-obsidian==0.2.3"]
    assert ("trial", "not_tried") in {(each["what"], each["outcome"]) for each in result["verified"]}
    assert any("what is stored as OBSIDIAN_API_KEY" in warning for warning in result["warnings"])


async def test_without_a_configured_model_rules_do(platform: RunningPlatform) -> None:
    member: Caller = await platform.member()
    answer = await member.post(
        "/api/v1/analyze/generate-config",
        json={"description": "Steer the coffee machine", "try": False},
    )
    assert answer.status_code == 202, answer.text
    task = await member.task_is(answer.json()["task_id"], "completed", "failed")
    assert task["status"] == "failed"
    assert "no model is configured" in task["error"]
