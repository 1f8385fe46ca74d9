"""Suggestions for real servers with known faults."""

from typing import Any

import jsonpatch
import pytest

from mcp_platform.contracts.mcps import McpConfig
from tests.improvements.asking import faulty, found, improvements, looked, targets
from tests.improvements.conftest import Improving
from tests.platform import Caller
from tests.waiting import eventually


@pytest.fixture(scope="module")
async def tried(improving: Improving) -> dict[str, Any]:
    """Give what is suggested for the faulty server, which is not deployed."""
    mcp = await improving.admin.register_mcp({"servers": [faulty()]})
    return await improvements(improving.admin, mcp["id"])


async def test_tools_of_what_is_not_deployed_are_seen_in_a_trial(tried: dict[str, Any]) -> None:
    assert looked(tried, "running tools") == {
        "what": "running tools",
        "looked": False,
        "detail": "it is not deployed",
    }
    assert looked(tried, "server faulty")["looked"] is True
    assert looked(tried, "server faulty")["detail"] == "10 tools in a trial"
    assert tried["engine"] == "rules"
    assert tried["engine_reason"] == "rules alone were asked for"


async def test_each_known_fault_is_found_where_it_is(tried: dict[str, Any]) -> None:
    assert targets(tried, "missing-description") == ["tool:nothing_said"]
    assert targets(tried, "unclear-description") == ["tool:get_forecast"]
    assert targets(tried, "missing-annotations") == ["mcp"]
    assert "getForecast" in found(tried, "missing-annotations")["reason"]
    assert targets(tried, "contradicting-annotations") == ["tool:delete_station"]
    assert targets(tried, "large-definition") == ["tool:endless"]
    assert targets(tried, "untyped-parameters") == ["tool:find"]
    assert "place" in found(tried, "untyped-parameters")["reason"]
    assert "place, kinds" in found(tried, "undescribed-parameters")["reason"]
    assert "radius, kinds" in found(tried, "unlimited-parameters")["reason"]
    assert "getForecast, get_forecast" in found(tried, "colliding-names")["title"]
    dangers = [each for each in tried["suggestions"] if each["category"] == "security"]
    assert {each["target"] for each in dangers} == {"tool:helpful"}
    assert {each["severity"] for each in dangers} == {"high"}


async def test_a_good_tool_is_left_alone(tried: dict[str, Any]) -> None:
    assert [each for each in tried["suggestions"] if each["target"] == "tool:read_weather"] == []


async def test_each_suggestion_says_what_it_rests_on(tried: dict[str, Any]) -> None:
    for each in tried["suggestions"]:
        assert each["title"]
        assert each["reason"]
        assert each["evidence"], each
    described = found(tried, "missing-description")
    assert described["evidence"] == [
        {"statement": "nothing_said has no description", "kind": "trial", "source": "trial:faulty"}
    ]
    assert described["patch"] is None
    order = ["high", "medium", "low", "info"]
    severities = [order.index(each["severity"]) for each in tried["suggestions"]]
    assert severities == sorted(severities)


async def test_the_same_is_suggested_the_next_time(admin: Caller, tried: dict[str, Any]) -> None:
    again = await improvements(admin, tried["tool_id"])
    assert again["suggestions"] == tried["suggestions"]
    assert again["score"] == tried["score"]
    assert 0 <= tried["score"] < 0.5


async def test_what_may_not_run_here_is_not_claimed_to_have_been_seen(improving: Improving) -> None:
    member = await improving.platform.member()
    mcp = await member.register_mcp({"servers": [faulty()]})
    result = await improvements(member, mcp["id"])
    seen = looked(result, "server faulty")
    assert seen["looked"] is False
    assert (
        "not_tried: running a command as the platform's own user needs deployments:process" in seen["detail"]
    )
    assert [each for each in result["suggestions"] if each["target"].startswith("tool:")] == []


async def test_nobody_has_somebody_elses_command_run(improving: Improving) -> None:
    member = await improving.platform.member()
    mcp = await member.register_mcp({"servers": [faulty()]})
    result = await improvements(improving.admin, mcp["id"])
    assert looked(result, "server faulty")["looked"] is False
    assert "not_tried" in looked(result, "server faulty")["detail"]


async def test_what_runs_is_asked_and_its_figures_count(admin: Caller) -> None:
    deployed = await admin.deploy(faulty())
    await admin.deployment_is(deployed["deployment_id"], "running")
    path = f"/mcp/{deployed['slug']}/v1/tools"
    for _ in range(12):
        assert (await admin.post(f"{path}/fails", json={})).status_code == 422
        assert (await admin.post(f"{path}/read_weather", json={"city": "Rome"})).status_code == 200
    mcp_id = (await admin.deployment(deployed["deployment_id"]))["tool_id"]

    async def judged() -> dict[str, Any]:
        return await improvements(admin, mcp_id)

    # Figures are written every two seconds, perhaps between two of the calls.
    result = await eventually(judged, lambda seen: "12 of its 12 calls failed" in str(seen["suggestions"]))
    assert looked(result, "running tools")["detail"] == "10 tools, as they are offered now"
    assert [each for each in result["checked"] if each["what"] == "server faulty"] == []
    assert targets(result, "missing-description") == ["tool:nothing_said"]
    assert found(result, "missing-description")["evidence"][0]["source"] == f"gateway:{deployed['slug']}"
    failing = found(result, "failing-tool")
    assert (failing["target"], failing["severity"]) == ("tool:fails", "high")
    assert "12 of its 12 calls failed (100%)" in failing["reason"]
    assert found(result, "missing-limits")["patch"] is None
    await admin.delete(f"/api/v1/deployments/{deployed['deployment_id']}")


async def test_every_patch_gives_a_valid_configuration(admin: Caller) -> None:
    config = {
        "servers": [
            {
                "name": "far",
                "url": "http://198.51.100.7/mcp",
                "headers": {"X-Api-Key": "sesame-open-1234"},
            }
        ]
    }
    mcp = await admin.register_mcp(config)
    result = await improvements(admin, mcp["id"])
    credential = found(result, "plain-credential-headers-x-api-key")
    assert credential["severity"] == "high"
    assert "sesame" not in str(result)
    assert targets(result, "unencrypted-address") == ["server:far"]
    patches = [each["patch"] for each in result["suggestions"] if each["patch"]]
    assert patches
    for patch in patches:
        McpConfig.model_validate(jsonpatch.JsonPatch(patch).apply(config))
