"""`${NAME}` in configurations: what may be seen, and what stays hidden."""

import base64
import json
import time
from collections.abc import Callable

import pytest

from mcp_platform.variables import Mask, UnknownVariable, Variables, references

ENVIRONMENT = {
    "WEATHER_KEY": "k-123",
    "REGION": "eu",
    "EMPTY": "",
    "NESTED": "${REGION}",
    "HIDDEN": "do not show",
    "MCP_PLATFORM_SECURITY__MASTER_KEY": "do not show",
}
VARIABLES = Variables(
    ENVIRONMENT,
    ["WEATHER_KEY", "REGION", "EMPTY", "NESTED", "ABSENT", "MCP_PLATFORM_SECURITY__MASTER_KEY"],
)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${WEATHER_KEY}", "k-123"),
        ("https://${REGION}.example.com/?key=${WEATHER_KEY}", "https://eu.example.com/?key=k-123"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${REGION}"),
        ("$REGION", "$REGION"),
        ("${}", "${}"),
        ("${not a name}", "${not a name}"),
        ("$${REGION}", "$eu"),
    ],
)
def test_references_are_replaced_once_and_everything_else_stays(text: str, becomes: str) -> None:
    assert VARIABLES.resolve(text) == becomes


@pytest.mark.parametrize("name", ["HIDDEN", "ABSENT", "MCP_PLATFORM_SECURITY__MASTER_KEY", "region"])
def test_what_is_not_set_or_not_exposed_is_refused_alike_with_what_to_do(name: str) -> None:
    with pytest.raises(UnknownVariable) as refused:
        VARIABLES.resolve(f"x ${{{name}}}")
    assert f"${{{name}}} is not known" in str(refused.value)
    assert "MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT" in str(refused.value)
    assert "do not show" not in str(refused.value)


def test_every_value_of_a_mapping_is_resolved() -> None:
    assert VARIABLES.resolve_all({"A": "${REGION}", "${REGION}": "b"}) == {"A": "eu", "${REGION}": "b"}
    with pytest.raises(UnknownVariable):
        VARIABLES.resolve_all({"A": "${REGION}", "B": "${HIDDEN}"})


def test_a_secret_wins_over_the_environment_and_needs_no_exposure() -> None:
    variables = VARIABLES.with_secrets({"REGION": "secret", "HIDDEN": "shown to its owner"})
    assert variables.resolve("${REGION} ${HIDDEN} ${WEATHER_KEY}") == "secret shown to its owner k-123"
    assert VARIABLES.resolve("${REGION}") == "eu"


def test_an_unknown_name_says_how_to_store_a_secret() -> None:
    with pytest.raises(UnknownVariable, match="PUT /api/v1/secrets/HIDDEN"):
        VARIABLES.resolve("${HIDDEN}")


def test_an_unknown_name_says_if_its_author_may_not_use_shared_secrets() -> None:
    for with_shared in (True, False):
        with pytest.raises(UnknownVariable) as refused:
            VARIABLES.with_secrets({}, with_shared=with_shared).resolve("${HIDDEN}")
        assert ("secrets:use" in str(refused.value)) != with_shared


def test_references_are_found_however_deep() -> None:
    config = {"a": ["${ONE} and ${TWO}", {"b": {"${NO}": "${THREE}"}}], "c": 7, "d": None}
    assert references(config) == {"ONE", "TWO", "THREE"}
    assert references({}) == set()


@pytest.mark.parametrize(
    "form",
    [
        lambda value: value,
        lambda value: f"key={value}&more",
        lambda value: json.dumps({"key": value}),
        lambda value: repr({"key": value}),
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: "https://x/?key=" + value.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    ],
    ids=["whole", "inside", "json", "repr", "base64", "address"],
)
def test_a_mask_takes_a_secret_out_in_whatever_form_it_is_printed(form: Callable[[str], str]) -> None:
    value = "s3/cr+et=9"
    masked = Mask([value]).text(form(value))
    assert "cr" not in masked
    assert "***" in masked


@pytest.mark.parametrize("before", ["user:", "me:", "x:", "{'auth': '", ""])
@pytest.mark.parametrize("after", ["", "\n", "'}", "tail"])
@pytest.mark.parametrize("value", ["s3/cr+et=9>>>???", "pass", "ключ-значение"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_mask_takes_a_secret_out_of_a_longer_text_in_base64(
    before: str, after: str, value: str, encode: Callable[[bytes], bytes]
) -> None:
    printed = "Basic " + encode(f"{before}{value}{after}".encode()).decode()
    masked = Mask([value]).text(printed)
    assert "***" in masked
    # What is left besides the neighbours is at most the two characters that they have a part in.
    neighbours = (len(before.encode()) * 4 + 2) // 3 + (len(after.encode()) * 4 + 2) // 3
    assert len(masked) - len("Basic ***") <= neighbours + 4


def test_a_mask_knows_exposed_variables_except_those_that_every_text_may_show() -> None:
    environment = {"TOKEN": "t-12345", "HIDDEN": "h-12345", "FLAG": "1", "HOME": "/home", "LANG": "C.UTF-8"}
    variables = Variables(environment, ["TOKEN", "FLAG", "HOME", "LANG", "TZ", "ABSENT"])
    text = "t-12345 h-12345 1 /home C.UTF-8"
    assert variables.mask.text(text) == "*** h-12345 1 /home C.UTF-8"
    assert variables.with_secrets({"S": "h-12345"}).mask.text(text) == "*** *** 1 /home C.UTF-8"


def test_a_mask_knows_the_lines_of_a_secret_and_its_cut_off_beginning() -> None:
    key = "-----BEGIN KEY-----\nMIIabcdefghijkl\n}\n-----END KEY-----\n"
    mask = Mask([key, "a-long-token-of-somebody"])
    assert mask.lines(["MIIabcdefghijkl", "} stays"]) == ["***", "} stays"]
    assert mask.text("x" * 50 + "a-long-tok") == "x" * 50 + "***"
    assert mask.text("a-long") == "a-long"
    assert mask.text("nothing of it") == "nothing of it"


def test_of_secrets_within_secrets_nothing_is_left() -> None:
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh abcd") == "*** ***"


def test_a_mask_is_quick_with_the_largest_secret_and_the_longest_lines() -> None:
    mask = Mask(["x" * 65_536, "y\n" * 30_000])
    # What the processor does for this thread alone: the machine may have others to serve meanwhile.
    started = time.thread_time()
    assert mask.lines(["z" * 2_000] * 50) == ["z" * 2_000] * 50
    assert time.thread_time() - started < 1
