"""Models in a whole platform: a task asks one, its owner pays, and the budget ends it."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.models.provider import KEY, OUTPUT_TOKENS, Provider, answering, failing, running_provider
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.waiting import in_one_task

REASONING = "It is a clock, and clocks are easy."
OPINION = {"reasoning": REASONING, "score_change": 0.05}
DAILY = 300
"""Two calls of a hundred and twenty tokens, and the half of another one."""


@pytest.fixture(scope="module")
async def asking(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[tuple[RunningPlatform, Provider]]:
    """Give a platform with a model, and the model's provider."""
    async with in_one_task(running_provider()) as provider:
        provider.answers("feasibility", OPINION)
        models = provider.settings(
            [provider.model(input_price=1.0, output_price=5.0)], daily_tokens=DAILY, retries=0, repairs=3
        )
        settings = quick_settings(tmp_path_factory.mktemp("asking")).model_copy(update={"models": models})
        temporal = await new_namespace(temporal_environment.client)
        async with in_one_task(running_platform(settings, temporal)) as platform:
            yield platform, provider


async def judged(caller: Caller, description: str = "Tells the time", **changes: object) -> dict[str, object]:
    """Have an idea judged, and give the task."""
    order = {"config": {"name": "A clock", "description": description}} | changes
    answer = await caller.post("/api/v1/analyze/feasibility", json=order)
    assert answer.status_code == 202, answer.text
    return await caller.task_is(answer.json()["task_id"], "completed", "failed")


async def test_a_task_hears_the_model_and_its_owner_sees_what_it_cost(
    asking: tuple[RunningPlatform, Provider],
) -> None:
    platform, provider = asking
    caller, other = await platform.member(), await platform.member()
    task = await judged(caller, "Tells the time in Oslo")
    result = task["result"]
    assert isinstance(result, dict)
    assert result["engine"] == "model"
    assert REASONING in str(result)
    assert "Oslo" in provider.requests[-1].user
    usage = (await caller.get("/api/v1/models/usage")).json()
    assert usage["total"] == 1
    assert usage["items"][0] | {"day": "", "user_id": ""} == {
        "day": "",
        "user_id": "",
        "model": "openai:test-model",
        "calls": 1,
        "answered": 1,
        "input_tokens": 100,
        "output_tokens": OUTPUT_TOKENS,
        "cost": 0.0002,
    }
    assert (await other.get("/api/v1/models/usage")).json()["total"] == 0
    admin = await platform.admin()
    everybody = (await admin.get("/api/v1/models/usage")).json()["items"]
    assert usage["items"][0] in everybody
    mine = usage["items"][0]["user_id"]
    assert (await admin.get("/api/v1/models/usage", params={"user_id": mine})).json()["total"] == 1
    refused = await other.get("/api/v1/models/usage", params={"user_id": mine})
    assert (refused.status_code, refused.json()["required_permission"]) == (403, "models:all")
    assert (await (await platform.member("viewer")).get("/api/v1/models")).status_code == 403


async def test_models_are_listed_without_their_keys(asking: tuple[RunningPlatform, Provider]) -> None:
    platform, _ = asking
    caller = await platform.member()
    answer = await caller.get("/api/v1/models")
    assert [model["model"] for model in answer.json()["models"]] == ["openai:test-model"]
    assert answer.json()["budget"]["tokens"] == DAILY
    assert KEY not in answer.text


async def test_a_budget_that_is_used_up_is_402_before_a_task_starts(
    asking: tuple[RunningPlatform, Provider],
) -> None:
    platform, provider = asking
    caller = await platform.member()
    for _ in range(3):
        assert (await judged(caller))["status"] == "completed"
    asked = len(provider.requests)
    refused = await caller.post(
        "/api/v1/analyze/feasibility", json={"config": {"name": "A clock", "description": "Tells the time"}}
    )
    assert refused.status_code == 402
    body = refused.json()
    assert body["error_code"] == "BUDGET_EXHAUSTED"
    assert body["renewed_at"] in body["detail"]
    words = await caller.post("/api/v1/analyze/generate-config", json={"description": "a clock"})
    assert words.status_code == 402
    info = {"openapi": "3.1.0", "info": {"title": "A clock", "version": "1"}, "paths": {}}
    read = await caller.post("/api/v1/analyze/generate-config", json={"openapi": info})
    assert read.status_code == 202, "a document is read without a model"
    by_rules = await judged(caller, engine="rules")
    assert isinstance(by_rules["result"], dict)
    assert by_rules["result"]["engine"] == "rules"
    assert len(provider.requests) == asked
    budget = (await caller.get("/api/v1/models")).json()["budget"]
    assert budget["used_tokens"] == 360
    assert budget["renewed_at"] == body["renewed_at"]


async def test_a_budget_that_ends_in_the_middle_fails_the_task_with_the_reason(
    asking: tuple[RunningPlatform, Provider],
) -> None:
    platform, provider = asking
    wrong = answering({"reasoning": ""})
    provider.next(wrong, wrong, wrong)
    task = await judged(await platform.member())
    assert task["status"] == "failed"
    assert f"{DAILY} tokens a day, is used up. It is renewed at" in str(task["error"])
    assert "result" not in task, "never a half result"


async def test_when_the_model_is_away_the_rules_have_to_do_and_say_why(
    asking: tuple[RunningPlatform, Provider],
) -> None:
    platform, provider = asking
    provider.next(failing(500))
    task = await judged(await platform.member())
    assert task["status"] == "completed"
    assert isinstance(task["result"], dict)
    assert task["result"]["engine"] == "rules"
    assert "it cannot be reached" in str(task["result"])


async def test_prometheus_sees_calls_tokens_and_times(asking: tuple[RunningPlatform, Provider]) -> None:
    platform, _ = asking
    await judged(await platform.member())
    text = (await platform.caller().get("/metrics")).text
    for line in (
        'mcp_platform_model_calls_total{model="openai:test-model",outcome="answered"}',
        'mcp_platform_model_tokens_total{direction="input",model="openai:test-model"}',
        'mcp_platform_model_seconds_count{model="openai:test-model"}',
    ):
        assert line in text
