"""Questions to a chain of models, and what their providers do wrong."""

import json

import pytest

from mcp_platform.contracts.models import CallOutcome
from mcp_platform.model_settings import ModelSettings
from tests.models.asking import CLEAR, Rig
from tests.models.provider import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Behaviour,
    Provider,
    answering,
)


async def test_an_answer_is_valid_and_counted(rig: Rig, provider: Provider) -> None:
    settings = provider.settings([provider.model(input_price=2.0, output_price=10.0)])
    async with rig.worker(settings):
        outcome = await rig.ask({"place": "Oslo", "facts": {"month": 7}})
    assert outcome.answer == CLEAR
    assert (outcome.model, outcome.prompt) == ("openai:test-model", "weather/v1")
    assert (outcome.input_tokens, outcome.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert outcome.cost == pytest.approx((100 * 2 + 20 * 10) / 1e6)
    assert "Oslo" in provider.requests[0].user
    [call] = await rig.calls()
    assert call.outcome is CallOutcome.ANSWERED
    assert not call.estimated


async def test_without_a_model_the_reason_says_so(rig: Rig) -> None:
    async with rig.worker(ModelSettings()):
        outcome = await rig.ask()
    assert outcome.answer is None
    assert outcome.reason == "no model is configured"
    assert await rig.calls() == []


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize(
    "wrong",
    [
        answering({"sky": "green", "sure": 0.5}),
        answering({"sky": "clear"}),
        answering('{"sky": "clear", "sure": '),
        answering("I would say that it will be clear."),
        answering({"sky": "clear", "sure": 7}),
    ],
    ids=["wrong value", "missing field", "broken JSON", "prose", "out of bounds"],
)
async def test_a_model_is_told_what_is_wrong_and_mends_it(
    rig: Rig, provider: Provider, wrong: Behaviour, method: str
) -> None:
    provider.next(wrong)
    async with rig.worker(provider.settings([provider.model(method=method)])):
        outcome = await rig.ask()
    assert outcome.answer == CLEAR
    assert outcome.repairs == 1
    first, second = provider.requests
    assert "sky" in json.dumps(first.body), "it is told the schema, whatever the method"
    assert "what_is_wrong_with_it" not in first.user
    assert "what_is_wrong_with_it" in second.user
    assert "Oslo" in second.user, "the question is asked again as a whole"
    assert await rig.outcomes() == ["invalid", "answered"]
    assert outcome.input_tokens >= INPUT_TOKENS, "what was used in vain counts too"
