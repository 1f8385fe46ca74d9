"""What providers do wrong, and where it leads: repairs, waits, another try, another model."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from activities.models.failures import REASONS, STEPS, Step, outcome_of_status, seconds_of
from mcp_platform.contracts.models import CallOutcome
from mcp_platform.model_settings import ModelSettings
from tests.models.asking import CLEAR, Rig
from tests.models.provider import (
    Asked,
    Behaviour,
    Provider,
    answering,
    broken,
    dropping,
    endless,
    failing,
    limited,
    packed,
    silent,
    waiting,
)
from tests.waiting import eventually

WRONG = answering({"sky": "green", "sure": 0.5})


def two(provider: Provider, first: Behaviour, timeout: float = 60.0, **changes: object) -> ModelSettings:
    """Give a chain whose first model always does this, and whose second one answers."""
    provider.always(first, "first")
    chain = [provider.model("first", timeout=timeout), provider.model("second")]
    return provider.settings(chain, **changes)


def test_every_outcome_without_an_answer_leads_somewhere_and_has_a_reason() -> None:
    without = set(CallOutcome) - {CallOutcome.ANSWERED, CallOutcome.IN_FLIGHT}
    assert set(STEPS) == set(REASONS) == without


@pytest.mark.parametrize(
    ("status", "outcome", "step"),
    [
        (400, "rejected", "next"),
        (401, "refused", "next"),
        (403, "refused", "next"),
        (404, "unknown", "next"),
        (408, "timed_out", "again"),
        (413, "rejected", "next"),
        (422, "rejected", "next"),
        (429, "rate_limited", "wait"),
        (500, "away", "again"),
        (503, "away", "again"),
        (504, "timed_out", "again"),
        (529, "away", "again"),
    ],
)
def test_a_status_leads_to_the_next_step(status: int, outcome: str, step: str) -> None:
    assert outcome_of_status(status) == CallOutcome(outcome)
    assert STEPS[CallOutcome(outcome)] is Step(step)


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    assert seconds_of("7", now) == 7
    assert seconds_of("0.5", now) == 0.5
    assert seconds_of(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert seconds_of("Sat Nov 21 12:00:05 2026", now) == 5
    assert seconds_of(format_datetime(now - timedelta(hours=1), usegmt=True), now) == 0
    assert seconds_of("-3", now) == 0
    for nothing in (None, "", "soon", "nan", "inf"):
        assert seconds_of(nothing, now) is None


@pytest.mark.parametrize("dated", [False, True], ids=["seconds", "date"])
async def test_a_busy_provider_is_left_alone_as_long_as_it_says(
    rig: Rig, provider: Provider, dated: bool
) -> None:
    left_alone_until: list[float] = []
    came_back: list[float] = []

    async def busy(request: web.Request, asked: Asked) -> web.StreamResponse:
        until = datetime.now(UTC) + timedelta(seconds=3 if dated else 2)
        if dated:
            until = until.replace(microsecond=0)  # a date has no parts of seconds
        left_alone_until.append(until.timestamp())
        return await limited(format_datetime(until, usegmt=True) if dated else "2")(request, asked)

    async def free(request: web.Request, asked: Asked) -> web.StreamResponse:
        came_back.append(time.time())
        return await answering(CLEAR)(request, asked)

    provider.next(busy, free)
    async with rig.worker(provider.settings()):
        assert (await rig.ask()).answer == CLEAR
    assert came_back[0] > left_alone_until[0] - 0.1
    assert await rig.outcomes() == ["rate_limited", "answered"]


async def test_others_are_served_while_one_question_waits(rig: Rig, provider: Provider) -> None:
    provider.next(limited("60"))
    async with rig.worker(provider.settings(concurrency=1)):
        patient = await rig.start()
        await eventually(lambda: asyncio.sleep(0, provider.requests))
        assert (await rig.ask()).answer == CLEAR
        await patient.terminate()


async def test_a_provider_that_is_busy_for_too_long_is_passed_over(rig: Rig, provider: Provider) -> None:
    async with rig.worker(two(provider, limited("3600"), patience=60)):
        outcome = await rig.ask()
    assert (outcome.answer, outcome.model) == (CLEAR, "openai:second")
    assert await rig.outcomes() == ["rate_limited", "answered"]


async def test_a_chain_never_goes_back(rig: Rig, provider: Provider) -> None:
    settings = two(provider, limited("3600"), patience=60)
    provider.always(failing(500), "second")
    async with rig.worker(settings):
        assert (await rig.ask()).answer is None
    assert [asked.model for asked in provider.requests] == ["first", "second", "second", "second"]


async def test_a_quota_that_is_spent_is_not_waited_for(rig: Rig, provider: Provider) -> None:
    spent = failing(429, "insufficient_quota", **{"Retry-After": "30"})
    async with rig.worker(two(provider, spent)):
        assert (await rig.ask()).model == "openai:second"
    assert await rig.outcomes() == ["refused", "answered"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_would_fail_again_leads_to_the_next_model_at_once(
    rig: Rig, provider: Provider, status: int
) -> None:
    async with rig.worker(two(provider, failing(status))):
        outcome = await rig.ask()
    assert (outcome.answer, outcome.model) == (CLEAR, "openai:second")
    assert [asked.model for asked in provider.requests] == ["first", "second"]


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (failing(500), "away"),
        (failing(503), "away"),
        (dropping, "away"),
        (silent, "timed_out"),
        (endless(b" ", 0.05), "timed_out"),
        (endless(b" " * 1_000_000, 0.0), "broken"),
        (packed, "broken"),
        (broken, "broken"),
        (failing(302, Location="/elsewhere"), "broken"),
        (answering({}, choices=None), "broken"),
    ],
    ids=[
        "500",
        "503",
        "dropped",
        "silent",
        "endless",
        "huge",
        "packed",
        "broken JSON",
        "elsewhere",
        "no choices",
    ],
)
async def test_a_model_in_trouble_is_asked_again_and_then_the_next_one(
    rig: Rig, provider: Provider, behaviour: Behaviour, outcome: str
) -> None:
    timeout = 0.5 if outcome == "timed_out" else 60.0
    async with rig.worker(two(provider, behaviour, timeout=timeout, retries=1)):
        found = await rig.ask()
    assert (found.answer, found.model) == (CLEAR, "openai:second")
    assert await rig.outcomes() == [outcome, outcome, "answered"]
    assert provider.strays == [], "it is led nowhere else"


async def test_an_error_of_a_moment_is_forgotten(rig: Rig, provider: Provider) -> None:
    provider.next(failing(500), dropping)
    async with rig.worker(provider.settings()):
        assert (await rig.ask()).answer == CLEAR
    assert await rig.outcomes() == ["away", "away", "answered"]


async def test_repairs_are_bounded_and_the_next_model_starts_afresh(rig: Rig, provider: Provider) -> None:
    async with rig.worker(two(provider, WRONG, repairs=2)):
        outcome = await rig.ask()
    assert (outcome.answer, outcome.model, outcome.repairs) == (CLEAR, "openai:second", 3)
    assert [asked.model for asked in provider.requests] == ["first", "first", "first", "second"]
    assert "green" not in provider.requests[-1].user


async def test_when_all_fail_the_reason_names_each_and_quotes_none(rig: Rig, provider: Provider) -> None:
    provider.always(failing(401), "first")
    provider.always(WRONG, "second")
    chain = [provider.model("first"), provider.model("second"), provider.model(model="nobody:third")]
    async with rig.worker(provider.settings(chain, repairs=0)):
        outcome = await rig.ask({"place": "Atlantis"})
    assert outcome.answer is None
    assert outcome.reason == (
        "no model has a valid answer (openai:first: its provider refuses the key;"
        " openai:second: its answers do not fit the schema; nobody:third: it is not set up)"
    )
    assert outcome.input_tokens == 100, "the answer in vain was paid for"


async def test_a_worker_that_ends_in_the_middle_is_followed_by_another(rig: Rig, provider: Provider) -> None:
    gate = asyncio.Event()
    provider.next(failing(500), waiting(gate, answering(CLEAR)))
    async with rig.worker(provider.settings()):
        handle = await rig.start()
        await eventually(lambda: asyncio.sleep(0, len(provider.requests)), lambda seen: seen == 2)
    async with rig.worker(provider.settings()):
        outcome = await handle.result()
    assert outcome.answer == CLEAR
    assert await rig.outcomes() == ["away", "lost", "answered"]
