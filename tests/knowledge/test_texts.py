"""Texts into passages, words and snippets."""

import random

import pytest

from storage.knowledge.passages import LONGEST, split_document
from storage.knowledge.snippets import LENGTH, snippet_of
from storage.knowledge.words import pack_terms, query_terms, term_id, unpack_terms, words_of

PIECES = [
    "# Heading one\n",
    "### Third level ##\n",
    "\n",
    "\n\n",
    "A short sentence. ",
    "Another one! Is it? Yes… ",
    "句子没有空格。第二句。" * 9,
    "x" * 2_000,
    "word " * 300,
    "- item\n- item\n",
    "```\n# no heading\n\ncode\n```\n",
    "🎉 emoji\u2028and separators\x0c",
    "   \t\n",
    "#notaheading\n",
]


@pytest.mark.parametrize("seed", range(40))
def test_passages_cover_the_text_in_order_and_stay_short(seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choices(PIECES, k=chance.randint(1, 40)))
    passages = split_document("Title", text)
    place = 0
    left_out = ""
    for ordinal, passage in enumerate(passages):
        assert passage.ordinal == ordinal
        assert place <= passage.begins < passage.ends <= len(text)
        assert passage.text == text[passage.begins : passage.ends] == passage.text.strip()
        assert len(passage.text) <= LONGEST
        assert passage.context.startswith("Title")
        left_out += text[place : passage.begins]
        place = passage.ends
    left_out += text[place:]
    # Nothing but headings is left out, and those are the context of what follows.
    assert all(not line.strip() or line.lstrip().startswith("#") for line in left_out.splitlines())
    assert bool(passages) == bool(text.strip())


def test_a_passage_knows_the_headings_above_it() -> None:
    text = "Intro.\n\n# One\n\nFirst.\n\n## Deep\n\nSecond.\n\n# Two\n\nThird.\n\n## Alone\n"
    contexts = {passage.text: passage.context for passage in split_document("Doc", text)}
    assert contexts == {
        "Intro.": "Doc",
        "First.": "Doc > One",
        "Second.": "Doc > One > Deep",
        "Third.": "Doc > Two",
        "## Alone": "Doc > Two > Alone",
    }


def test_an_unchanged_passage_keeps_its_hash_when_another_changes() -> None:
    sections = [f"# Section {number}\n\n{'Sentence of it. ' * 30}\n\n" for number in range(5)]
    before = [passage.text_hash for passage in split_document("Doc", "".join(sections))]
    sections[2] = "# Section 2\n\nSomething else.\n\n"
    after = [passage.text_hash for passage in split_document("Doc", "".join(sections))]
    assert len(before) == len(after) == 5
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, True, True]


def test_a_text_of_nothing_but_headings_has_a_bounded_number_of_passages() -> None:
    assert len(split_document("Doc", "# a\n" * 100_000)) < 5_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Weather-API", ["the", "weatherapi", "weather", "api"]),
        ("get_weather", ["getweather", "get", "weather"]),
        ("getHTTPResponse", ["gethttpresponse", "get", "http", "response"]),
        ("v1.2.3", ["v123", "v1", "2", "3"]),
        ("Straße \uff21\uff22\uff23", ["straße", "abc"]),
        ("天气预报", ["天", "气", "预", "报", "天气", "气预", "预报"]),
        ("用MCP协议", ["用", "mcp", "协", "议", "协议"]),
        ("?! … --", []),
    ],
)
def test_words_are_what_one_would_look_for(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


def test_a_query_asks_for_pairs_of_characters_and_for_a_lone_one() -> None:
    assert list(words_of("天气预报", asked=True)) == ["天气", "气预", "预报"]
    assert list(words_of("雨 rain", asked=True)) == ["雨", "rain"]


@pytest.mark.parametrize("query", ["get_weather", "getWeather", "get-weather", "GET_WEATHER"])
def test_identifiers_are_the_same_however_they_are_spelt(query: str) -> None:
    known = set(unpack_terms(pack_terms(words_of("Call get_weather first.")))[0].tolist())
    assert term_id("getweather") in known
    assert set(query_terms(query).tolist()) <= known


def test_packed_terms_are_unpacked_with_their_counts() -> None:
    ids, counts = unpack_terms(pack_terms(["b", "a", "b"] + ["c"] * 300))
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {
        term_id("a"): 1,
        term_id("b"): 2,
        term_id("c"): 255,
    }
    assert len(unpack_terms(pack_terms([]))[0]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_snippet_shows_where_the_querys_words_stand(seed: int) -> None:
    chance = random.Random(seed)
    words = [f"w{chance.randint(0, 50)}" for _ in range(200)]
    words.insert(chance.randrange(200), "needle thread")
    text = " ".join(words)
    snippet = snippet_of(text, "a needle and some thread")
    shown = text[snippet.begins : snippet.ends]
    assert "needle thread" in shown
    assert len(shown) <= LENGTH
    assert snippet.text == ("…" if snippet.begins else "") + shown + ("…" if snippet.ends < len(text) else "")


def test_a_short_text_is_shown_whole() -> None:
    assert snippet_of("Short.", "anything").text == "Short."
    assert len(snippet_of("长" * 900, "短").text) == LENGTH + 1
