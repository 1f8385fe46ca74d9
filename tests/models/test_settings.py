"""Settings of models, and keys that stand elsewhere."""

import asyncio
from pkgutil import resolve_name
from uuid import uuid4

import pytest
from aiohttp import web
from pydantic import ValidationError

from mcp_platform.contracts.secrets import SHARED
from mcp_platform.model_settings import ModelSettings
from mcp_platform.settings import Settings
from tests.models.asking import CLEAR, Rig
from tests.models.provider import KEY, Asked, Provider, completion
from tests.models.test_masking import store
from tests.waiting import PATIENCE


def test_a_chain_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MCP_PLATFORM_MODELS__CHAIN",
        '[{"model": "openai:gpt-5", "api_key": "sk-1", "temperature": null}, {"model": "ollama:qwen3:8b"}]',
    )
    monkeypatch.setenv("MCP_PLATFORM_MODELS__DAILY_TOKENS", "100000")
    models = Settings().models
    assert [each.model for each in models.chain] == ["openai:gpt-5", "ollama:qwen3:8b"]
    assert models.budget.tokens == 100_000
    assert "sk-1" not in repr(models)


@pytest.mark.parametrize(
    "wrong",
    [
        {"chain": [{"model": "gpt-5"}]},
        {"chain": [{"model": "openai:x", "api_key": "a", "api_key_secret": "B"}]},
        {"chain": [{"model": "openai:x", "timeout": 0}]},
        {"chain": [{"model": "openai:x"}] * 9},
        {"repairs": 100},
        {"concurrency": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelSettings.model_validate(wrong)


async def test_a_key_may_be_a_shared_secret_which_is_read_when_it_is_needed(
    rig: Rig, provider: Provider
) -> None:
    model = provider.model(api_key=None, api_key_secret="MODEL_KEY")
    await store(rig, uuid4().hex, "MODEL_KEY", KEY)
    async with rig.worker(provider.settings([model])):
        missing = await rig.ask()
        assert missing.answer is None
        assert missing.reason == "no model has a valid answer (openai:test-model: it is not set up)"
        await store(rig, SHARED, "MODEL_KEY", KEY)
        assert (await rig.ask({"place": f"Oslo {KEY}"})).answer == CLEAR
    assert [asked.key for asked in provider.requests] == [f"Bearer {KEY}"]
    assert KEY not in provider.requests[0].user


async def test_a_key_that_is_changed_counts_at_once(rig: Rig, provider: Provider) -> None:
    model = provider.model(api_key=None, api_key_secret="MODEL_KEY")
    await store(rig, SHARED, "MODEL_KEY", "sk-former-key-000")
    async with rig.worker(provider.settings([model])):
        assert (await rig.ask()).answer is None
        await change(rig, "MODEL_KEY", KEY)
        assert (await rig.ask()).answer == CLEAR


async def change(rig: Rig, name: str, value: str) -> None:
    """Store another value of a shared secret."""
    async with rig.stores.write() as rows:
        former = await rows.secrets.get(SHARED, name)
        assert former
        await rows.secrets.delete(former.id)
    await store(rig, SHARED, name, value)


async def test_a_question_that_is_under_way_is_answered_though_its_key_is_changed(
    rig: Rig, provider: Provider
) -> None:
    former, asked, go_on = provider.key, asyncio.Event(), asyncio.Event()

    async def held(_: web.Request, question: Asked) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return completion(question, CLEAR)

    provider.next(held)
    model = provider.model(api_key=None, api_key_secret="MODEL_KEY")
    await store(rig, SHARED, "MODEL_KEY", former)
    async with rig.worker(provider.settings([model])):
        first = asyncio.create_task(rig.ask())
        await asyncio.wait_for(asked.wait(), PATIENCE)
        await change(rig, "MODEL_KEY", "sk-another-key-000")
        provider.key = "sk-another-key-000"
        assert (await rig.ask()).answer == CLEAR
        go_on.set()
        assert (await first).answer == CLEAR
    assert [each.key for each in provider.requests] == [f"Bearer {former}", "Bearer sk-another-key-000"]


async def test_nothing_is_told_to_tracing_services(
    rig: Rig, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", f"http://127.0.0.1:{provider.port}")
    monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2-local")
    async with rig.worker(provider.settings()):
        assert (await rig.ask()).answer == CLEAR
    # What they are told is sent in the background.
    await asyncio.to_thread(resolve_name("langchain_core.tracers.langchain:wait_for_all_tracers"))
    assert provider.strays == []
