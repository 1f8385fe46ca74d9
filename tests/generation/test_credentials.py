"""Credentials in what others wrote are found wherever they stand."""

from typing import Any

import pytest

from activities.generation.credentials import hide
from mcp_platform.formats.credentials import credential_places

GITHUB = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
OPENAI = "sk-0123456789abcdefghijABCDEFGHIJ"


@pytest.mark.parametrize(
    ("server", "expected", "secrets"),
    [
        ({"env": {"API_KEY": "abc"}}, {"env": {"API_KEY": "${API_KEY}"}}, {"API_KEY"}),
        ({"env": {"API_KEY": "${OTHER}"}}, {"env": {"API_KEY": "${OTHER}"}}, set()),
        ({"env": {"MODE": "fast"}}, {"env": {"MODE": "fast"}}, set()),
        ({"env": {"USER_ID": GITHUB}}, {"env": {"USER_ID": "${USER_ID}"}}, {"USER_ID"}),
        ({"env": {"HOST": "your-host-here"}}, {"env": {"HOST": "${HOST}"}}, {"HOST"}),
        (
            {"headers": {"Authorization": f"Bearer {OPENAI}"}},
            {"headers": {"Authorization": "Bearer ${A_B_AUTHORIZATION}"}},
            {"A_B_AUTHORIZATION"},
        ),
        ({"args": ["--token", "abc", "x"]}, {"args": ["--token", "${TOKEN}", "x"]}, {"TOKEN"}),
        ({"args": ["--api-key=abc"]}, {"args": ["--api-key=${API_KEY}"]}, {"API_KEY"}),
        ({"args": ["--token", "--verbose"]}, {"args": ["--token", "--verbose"]}, set()),
        ({"args": ["run", OPENAI]}, {"args": ["run", "${A_B_CREDENTIAL}"]}, {"A_B_CREDENTIAL"}),
        ({"args": ["--port", "80"]}, {"args": ["--port", "80"]}, set()),
        (
            {"url": "https://a.example.com/mcp?api_key=abc&mode=fast"},
            {"url": "https://a.example.com/mcp?api_key=${A_B_API_KEY}&mode=fast"},
            {"A_B_API_KEY"},
        ),
        ({"url": "https://me:abc@a.example.com/mcp"}, {"url": "https://a.example.com/mcp"}, set()),
    ],
)
def test_a_credential_becomes_a_reference(
    server: dict[str, Any], expected: dict[str, Any], secrets: set[str]
) -> None:
    hidden = hide(server, "a-b")
    assert server == expected
    assert set(hidden.secrets) == secrets
    assert credential_places({"servers": [server]}) == []


def test_only_real_values_are_said_to_have_stood_in_plain() -> None:
    blank = {"env": {"API_KEY": "<your key>", "TOKEN": "YOUR_TOKEN_HERE"}, "args": ["--token", "xxx"]}
    hidden = hide(blank, "a")
    assert set(hidden.secrets) == {"API_KEY", "TOKEN"}
    assert hidden.plain == []
    assert hide({"env": {"API_KEY": "abc"}}, "a").plain == ["env.API_KEY"]


@pytest.mark.parametrize(
    "server", [{}, {"env": 1}, {"env": {"A_KEY": 1}}, {"args": [1, None]}, {"url": 7}, {"url": "http://["}]
)
def test_what_is_no_configuration_is_left_to_the_schema(server: dict[str, Any]) -> None:
    before = dict(server)
    hide(server, "a")
    assert server == before
