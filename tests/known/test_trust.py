"""Which commands of the catalogue anybody may have tried as a process."""

from typing import Any

import pytest

from mcp_platform.contracts.known import KnownServer
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.known_servers import is_trusted, shipped_servers


def known(slug: str) -> KnownServer:
    """Give a server of the catalogue."""
    return next(server for server in shipped_servers() if server.slug == slug)


def entry(slug: str, **changes: Any) -> ServerConfig:
    """Give how it is run, with changes."""
    return ServerConfig.model_validate(known(slug).config()["servers"][0] | changes)


@pytest.mark.parametrize("slug", ["time", "everything", "notion", "sqlite"])
def test_what_is_marked_so_is_trusted_in_the_version_that_it_pins(slug: str) -> None:
    assert is_trusted(entry(slug))
    assert is_trusted(entry(slug, name="another-name"))


@pytest.mark.parametrize(
    "changes",
    [
        {"args": ["mcp-server-time==2026.10.19", "--more"]},
        {"args": ["mcp-server-time"]},
        {"args": ["mcp-server-time==2026.10.18"]},
        {"command": "/tmp/uvx"},
        {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        {"cwd": "/"},
        {"build": {"git": {"url": "https://example.com/a.git", "ref": "main"}}},
    ],
)
def test_a_command_that_was_changed_is_not_trusted(changes: dict[str, Any]) -> None:
    assert not is_trusted(entry("time", **changes))


def test_a_secret_that_became_something_else_is_not_trusted() -> None:
    assert not is_trusted(entry("notion", env={"NOTION_TOKEN": "--require=/tmp/x.js"}))


def test_whatever_its_publisher_publishes_next_is_not_trusted() -> None:
    unpinned = [server for server in shipped_servers() if server.command and server.version is None]
    assert unpinned
    assert [server.slug for server in unpinned if is_trusted(entry(server.slug))] == []


def test_what_is_not_marked_so_is_not_trusted_though_it_was_tried_and_pins_a_version() -> None:
    assert known("atlassian").tried
    assert known("atlassian").version is not None
    assert not is_trusted(entry("atlassian"))
    assert not is_trusted(entry("deepwiki"))
