"""The catalogue that ships with the platform is true: its entries hold, and servers do as it says."""

import os
import re
import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

import mcp_platform.known_servers
from mcp_platform.contracts.checks import Registry
from mcp_platform.contracts.known import KnownServer
from mcp_platform.contracts.mcps import CreateMcp, McpConfig
from mcp_platform.known_servers import other_products, shipped_servers
from mcp_platform.variables import references
from tests.services.npm_servers import npm_folder

SERVERS = {server.slug: server for server in shipped_servers()}
INSTALLED_HERE = ["everything", "filesystem", "memory", "sequential-thinking", "time"]
"""Those that the tests' installation has."""

each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=lambda server: server.slug)


def test_it_knows_at_least_forty_servers_of_both_registries() -> None:
    registries = Counter(server.registry for server in SERVERS.values())
    assert registries[Registry.PYPI] + registries[Registry.NPM] >= 40
    assert min(registries[Registry.PYPI], registries[Registry.NPM]) >= 15


def test_each_file_is_named_after_its_slug_and_has_only_fields_that_are_read() -> None:
    folder = Path(mcp_platform.known_servers.__file__).parent / "data"
    for file in folder.glob("*.json"):
        entry = SERVERS[file.stem]
        KnownServer.model_validate_json(file.read_bytes(), extra="forbid")
        assert entry.origin == "shipped"
    assert len(list(folder.iterdir())) == len(SERVERS)


@each_server
def test_an_entry_can_be_registered_as_it_stands(server: KnownServer) -> None:
    config = McpConfig.model_validate(server.config())
    CreateMcp(name=server.name, slug=server.slug, version="1.0.0", config=config)


@each_server
def test_an_entry_says_what_people_look_for_in_english_and_chinese(server: KnownServer) -> None:
    assert server.description.endswith(".")
    assert re.search("[\u4e00-\u9fff]", server.description_zh)
    assert server.keywords
    assert len(server.keywords) == len({keyword.lower() for keyword in server.keywords})
    assert server.homepage is not None
    assert server.homepage.startswith("https://")


@each_server
def test_a_command_runs_the_package_in_the_version_that_is_named(server: KnownServer) -> None:
    if server.url is not None:
        assert server.url.startswith("https://")
        assert (server.command, server.package, server.registry) == (None, None, None)
        return
    assert server.package is not None
    assert server.licence
    if server.registry is Registry.NPM:
        named = f"{server.package}@{server.version}" if server.version else server.package
        assert server.command == "npx"
        assert server.args[:2] == ["-y", named]
    else:
        named = f"{server.package}=={server.version}" if server.version else server.package
        assert server.command == "uvx"
        assert named in server.args


@each_server
def test_secrets_are_named_and_never_there(server: KnownServer) -> None:
    needed = {secret.name for secret in server.secrets}
    config: dict[str, Any] = server.config()["servers"][0]
    for name in needed & config.get("env", {}).keys():
        assert config["env"][name] == f"${{{name}}}"
    assert not needed & server.env.keys()
    for name, value in server.env.items():
        assert references(value) or not re.search("KEY|TOKEN|SECRET|PASS", name), name
    # The value of a secret would look like one: long, and of letters and digits.
    assert not re.search(r"[A-Za-z0-9_]{32,}", shlex.join([*server.args, *server.env.values()]))


@each_server
def test_what_is_offline_was_tried_in_its_version_and_needs_no_secret(server: KnownServer) -> None:
    if server.tried:
        assert server.tools
        assert server.version
    else:
        assert not server.tools
        assert server.example is None
        assert not server.trusted
    if server.offline:
        assert server.tried
        assert not [secret for secret in server.secrets if secret.required]
    if server.example is not None:
        assert server.offline
        assert server.example.tool in {tool.name for tool in server.tools}


def test_no_server_of_the_catalogue_is_a_product_that_it_does_not_reach() -> None:
    reached = {keyword.lower() for server in SERVERS.values() for keyword in server.keywords}
    assert not reached & {product.lower() for product in other_products()}


@pytest.mark.parametrize("slug", INSTALLED_HERE)
async def test_a_server_starts_offline_and_does_what_its_entry_says(slug: str, tmp_path: Path) -> None:
    entry = SERVERS[slug]
    async with (
        stdio_client(_installed(entry, tmp_path)) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        listed = (await session.list_tools()).tools
        assert sorted(tool.name for tool in listed) == sorted(tool.name for tool in entry.tools)
        for tool in listed:
            told = next(each for each in entry.tools if each.name == tool.name)
            said = tool.annotations.read_only_hint if tool.annotations else None
            assert told.read_only == said, tool.name
        assert entry.example is not None
        answer = await session.call_tool(entry.example.tool, entry.example.arguments)
        assert not answer.is_error
        assert answer.content


def _installed(entry: KnownServer, folder: Path) -> StdioServerParameters:
    """Run what is installed in the place of what would be fetched, with the entry's own arguments."""
    environment = os.environ | {"MEMORY_FILE_PATH": str(folder / "memory.json"), "npm_config_offline": "true"}
    if entry.registry is Registry.NPM:
        # npx takes what is installed in the folder, if it is the version that is asked for.
        return StdioServerParameters(command="npx", args=entry.args, env=environment, cwd=npm_folder())
    assert entry.package is not None
    assert version(entry.package) == entry.version, "the lock and the catalogue name different versions"
    rest = entry.args[entry.args.index(f"{entry.package}=={entry.version}") + 1 :]
    return StdioServerParameters(command=entry.package, args=rest, env=environment, cwd=folder)
