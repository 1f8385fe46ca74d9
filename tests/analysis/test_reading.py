"""How ideas are read: packages, commands, addresses and configurations in words, and what is trusted."""

# ruff: noqa: RUF001 - Chinese is written with commas of its own

from typing import Any

import pytest

from activities.analysis import understood
from activities.feasibility_rules import (
    important_words,
    included_config,
    packages_of,
    read_idea,
    without_credentials,
)
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.known_servers import shipped_servers

PYPI = ".".join(("pypi", "org"))
"""In parts: no file names a registry."""


def servers_in(text: str) -> list[dict[str, Any]]:
    """Give the servers that a text names."""
    config = included_config(read_idea({"description": text})).config
    return [server.model_dump(exclude_unset=True, exclude={"name"}) for server in config.servers]


def packages_in(text: str) -> dict[str, str | None]:
    """Give the packages that a text names, with their versions."""
    idea = read_idea({"description": text})
    uses = packages_of(idea, included_config(idea).config)
    return {f"{use.question.registry}:{use.question.name}": use.question.version for use in uses}


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("Start it with `npx -y @scope/server@1.2.0 --port 3`, please",
         [{"command": "npx", "args": ["-y", "@scope/server@1.2.0", "--port", "3"]}]),
        ("Do this:\n\n    $ uvx mcp-server-time==1.0 --local-timezone UTC\n\nand wait",
         [{"command": "uvx", "args": ["mcp-server-time==1.0", "--local-timezone", "UTC"]}]),
        ("我们用 uvx mcp-server-time 来查询时间", [{"command": "uvx", "args": ["mcp-server-time"]}]),
        ("We use npx to run it, and uvx is fine too", []),
        ("It is at https://mcp.example.com/mcp, and speaks MCP.", [{"url": "https://mcp.example.com/mcp"}]),
        ("地址是https://mcp.example.com/v1/sse，需要令牌", [{"url": "https://mcp.example.com/v1/sse"}]),
        ("See https://example.com/docs for more", []),
        ('Our file:\n```json\n{"mcpServers": {"a": {"command": "a-server", "args": ["x"]}}}\n```',
         [{"command": "a-server", "args": ["x"]}]),
        ('Not valid: ```{"mcpServers": ``` at all', []),
    ],
)  # fmt: skip
def test_servers_that_words_name_are_found(text: str, servers: list[dict[str, Any]]) -> None:
    assert servers_in(text) == servers


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("`npx -y @scope/server@1.2.0`", {"npm:@scope/server": "1.2.0"}),
        ("`npx -y @scope/server@latest`", {"npm:@scope/server": None}),
        ("Run `pip install mcp-server-time==1.0` first", {"pypi:mcp-server-time": "1.0"}),
        ("npm install -g some-server", {"npm:some-server": None}),
        (f"https://{PYPI}/project/mcp-server-git/ has it", {"pypi:mcp-server-git": None}),
        ("https://www.npmjs.com/package/@scope/server", {"npm:@scope/server": None}),
        ("`uvx --from mcp-server-git[cli]==2.0 mcp-git`", {"pypi:mcp-server-git": "2.0"}),
        ("Write to me@example.com or @channel", {}),
    ],
)
def test_packages_that_words_name_are_found(text: str, packages: dict[str, str | None]) -> None:
    assert packages_in(text) == packages


def test_a_draft_has_no_credential_in_it() -> None:
    server = {"name": "a", "url": "https://example.com/mcp", "headers": {"X-API-Key": "very-secret"}}
    draft = without_credentials(McpConfig.model_validate({"servers": [server]}))
    assert "very-secret" not in str(draft)
    assert draft["servers"][0]["headers"]["X-API-Key"].startswith("${")


def test_what_is_trusted_and_tried_is_told_to_the_workflow() -> None:
    known = next(server for server in shipped_servers() if server.slug == "time")
    servers = [
        known.config()["servers"][0],
        *({"name": f"more-{number}", "command": "more"} for number in range(3)),
    ]
    facts, draft = understood("key", read_idea({"name": "Time", "servers": servers}))
    assert facts.to_try == ["time", "more-0", "more-1"]
    assert facts.trusted == ["time"]
    assert facts.draft_key == "key/judged"
    assert len(draft["servers"]) == 4
    assert facts.warnings == ["Only the first 3 of 4 servers are tried"]


def test_words_that_say_what_a_text_is_about() -> None:
    assert important_words("The tool is watching Herons via MCP, watching them") == ["watch", "heron"]
    assert important_words("查询天气的工具") == ["查询", "询天", "天气", "气的", "的工"]
