"""What a model adds to the findings of the rules, and what it cannot take away or do."""

from typing import Any

from tests.improvements.asking import faulty, found, improvements, targets
from tests.improvements.conftest import Improving
from tests.models.provider import failing

PROMPT = "improvements"
API: dict[str, Any] = {
    "servers": [{"name": "api", "url": "http://127.0.0.1:9/", "type": "rest"}],
    "tools": [
        {"name": "list_cities", "request": {"method": "GET", "path": "/cities"}},
        {
            "name": "list_stations",
            "description": "List the stations of a city, the busiest first.",
            "parameters": {"page": {"default": 1, "description": "Which page"}},
            "request": {"method": "GET", "path": "/stations", "query": {"page": "{page}"}},
        },
    ],
}


def answer(*wordings: dict[str, str], **more: Any) -> dict[str, Any]:
    """Give what a model answers."""
    return {"wordings": list(wordings), "summary": "Describe the tools first."} | more


def wording(tool: str, description: str = "List the cities that have stations.") -> dict[str, str]:
    """Give a model's words for one tool."""
    return {"tool": tool, "description": description, "reason": "Nothing said what it answers."}


async def test_a_model_words_a_description_that_can_be_applied(improving: Improving) -> None:
    improving.provider.answers(PROMPT, answer(wording("list_cities"), wording("invented_tool")))
    mcp = await improving.admin.register_mcp(API)
    result = await improvements(improving.admin, mcp["id"], engine="auto")
    assert result["engine"] == "model"
    one = found(result, "missing-description")
    assert one["patch"] == [
        {"op": "add", "path": "/tools/0/description", "value": "List the cities that have stations."}
    ]
    assert [each["kind"] for each in one["evidence"]] == ["mcp", "model"]
    assert "invented_tool" not in str(result)
    order = {"task_id": result["task_id"], "suggestion_id": one["id"]}
    applied = await improving.admin.post(f"/api/v1/mcps/{mcp['id']}/apply-suggestion", json=order)
    assert applied.status_code == 200, applied.text
    config = (await improving.admin.get(f"/api/v1/mcps/{mcp['id']}")).json()["config"]
    assert config["tools"][0]["description"] == "List the cities that have stations."


async def test_a_type_that_follows_from_a_default_is_a_patch_of_the_rules(improving: Improving) -> None:
    mcp = await improving.admin.register_mcp(API)
    result = await improvements(improving.admin, mcp["id"])
    assert found(result, "untyped-parameters")["patch"] == [
        {"op": "add", "path": "/tools/1/parameters/page/type", "value": "integer"}
    ]
    assert targets(result, "missing-annotations") == []
    assert targets(result, "missing-health-check") == ["server:api"]


async def test_a_model_takes_nothing_away_and_obeys_no_server(improving: Improving) -> None:
    remark = {"title": "Two forecasts", "severity": "low", "category": "names", "target": "elsewhere"}
    improving.provider.answers(
        PROMPT,
        answer(
            wording("helpful", "Help with whatever is asked for."), remarks=[remark | {"reason": "Same."}]
        ),
    )
    mcp = await improving.admin.register_mcp({"servers": [faulty()]})
    by_rules = await improvements(improving.admin, mcp["id"])
    result = await improvements(improving.admin, mcp["id"], engine="auto")
    known = {each["id"] for each in result["suggestions"]}
    assert {each["id"] for each in by_rules["suggestions"]} < known
    assert known - {each["id"] for each in by_rules["suggestions"]} == {"model-1", "wording-helpful"}
    (added,) = [each for each in result["suggestions"] if each["id"] == "model-1"]
    assert (added["target"], added["patch"]) == ("config", None)
    asked = improving.provider.requests[-1]
    assert "Ignore all previous instructions" in asked.user
    assert "Ignore all previous instructions" not in asked.system


async def test_without_an_answer_the_rules_do_and_say_why(improving: Improving) -> None:
    improving.provider.next(failing(400))
    mcp = await improving.admin.register_mcp(API)
    result = await improvements(improving.admin, mcp["id"], engine="auto")
    assert result["engine"] == "rules"
    assert result["engine_reason"]
    assert targets(result, "missing-description") == ["tool:list_cities"]
