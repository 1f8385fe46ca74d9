"""The search among known servers: what people want is found, and what nobody has is not made up."""

# ruff: noqa: RUF001 - Chinese is written with commas of its own

import json
from functools import cache as once

import pytest

from gateway.discovery.known import SURE, KnownIndex
from mcp_platform.contracts.known import KnownMatch, KnownServer
from mcp_platform.known_servers import other_products, shipped_servers
from tests.known.requests import TRAINING

SERVED = [(text, right) for text, right in TRAINING if right]
UNSERVED = [text for text, right in TRAINING if not right]


@once
def index() -> KnownIndex:
    """Give the catalogue that ships, made ready for the search."""
    return KnownIndex(shipped_servers(), other_products())


def find(text: str) -> list[KnownMatch]:
    """Search it."""
    return index().find(text, 5)


def sure(text: str) -> set[str]:
    """Give those that clearly do what is wanted."""
    return {match.server.slug for match in find(text) if match.sure}


def test_what_the_catalogue_has_is_found_first_and_for_sure() -> None:
    missed = [text for text, right in SERVED if find(text)[0].server.slug not in right]
    doubted = [text for text, right in SERVED if not sure(text) & right]
    assert len(missed) <= len(SERVED) * 0.03, missed
    assert len(doubted) <= len(SERVED) * 0.05, doubted


@pytest.mark.parametrize("text", UNSERVED)
def test_what_nobody_has_is_never_sure_and_scores_low(text: str) -> None:
    found = find(text)
    assert not [match.server.slug for match in found if match.sure]
    assert all(match.score < SURE - 0.1 for match in found), found[0]


def test_a_source_that_no_server_has_makes_all_of_them_unlikely() -> None:
    requirements = {"tool_type": "weather", "features": ["forecast"], "data_sources": ["openweathermap"]}
    for text in (json.dumps(requirements), "weather with openweathermap", "weather by the Weatherzoo API"):
        found = find(text)
        assert not any(match.sure for match in found), text
        assert all(match.score < 0.5 for match in found), text
    del requirements["data_sources"]
    assert sure(json.dumps(requirements)) == {"weather"}


def test_who_is_named_wins_over_who_is_described() -> None:
    assert sure("search the web") == {"duckduckgo"}
    assert sure("search the web with Tavily") == {"tavily"}
    assert sure("天气，用百度地图") == {"baidu-maps"}


@pytest.mark.parametrize(
    ("text", "slug"), [("time", "time"), (" Git ", "git"), ("WORD", "word"), ("google maps", "google-maps")]
)
def test_who_is_called_by_slug_or_name_alone_is_the_only_one_meant(text: str, slug: str) -> None:
    found = find(text)
    assert found[0].server.slug == slug
    assert found[0].score >= 0.9
    assert found[0].why
    assert sure(text) == {slug}


def test_several_that_are_wanted_together_are_all_sure() -> None:
    assert sure("copy rows from Postgres to a Slack channel") == {"postgres", "slack"}


def test_a_name_within_another_word_is_none() -> None:
    assert sure("issues on GitHub") == {"github"}
    assert "time" not in sure("a tool for the time sheets of our staff")
    assert "word" not in sure("in other words, a word about birds")
    assert "linear" not in sure("linear regression of measurements")


def test_what_speaks_for_a_match_is_told() -> None:
    first = find("convert times between time zones, for our offices")[0]
    assert first.server.slug == "time"
    assert "time zone" in first.why


def test_the_simplest_of_equals_comes_first() -> None:
    found = [match.server.slug for match in find("web search")]
    assert found.index("duckduckgo") < found.index("brave-search")


def test_what_a_registry_says_is_never_sure() -> None:
    stranger = KnownServer(
        slug="stranger",
        name="Time",
        description="current time",
        keywords=["Time", "what time"],
        origin="registry",
    )
    (match,) = KnownIndex([stranger]).find("what time is it", 5)
    assert match.score > 0.9
    assert not match.sure


@pytest.mark.parametrize("text", ["", " ", "?", "x" * 20_000, "天" * 5_000, "\ud800", "((((", "= Word"])
def test_strange_requests_are_answered(text: str) -> None:
    assert len(find(text)) <= 5
