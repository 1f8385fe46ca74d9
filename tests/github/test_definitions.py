"""Which files of a repository are definitions, and how they are read."""

import json
from typing import Any

import pytest

from activities.github_sync.definitions import LARGEST, is_definition, read_definitions
from mcp_platform.contracts.syncing import FoundDefinition, RefusedDefinition
from tests.github.syncs import own


def found(path: str, text: str) -> list[FoundDefinition]:
    read = read_definitions(path, text.encode())
    assert all(isinstance(each, FoundDefinition) for each in read), read
    return [each for each in read if isinstance(each, FoundDefinition)]


def refused(path: str, content: str | bytes) -> str:
    [read] = read_definitions(path, content if isinstance(content, bytes) else content.encode())
    assert isinstance(read, RefusedDefinition), read
    return read.reason


@pytest.mark.parametrize(
    ("path", "below", "counts"),
    [
        ("mcp.json", "", True),
        (".mcp.json", "", True),
        ("server.json", "", True),
        ("mcp_settings.json", "", True),
        (".mcp/any.json", "", True),
        (".mcp/any.yaml", "", True),
        (".mcp/any.yml", "", True),
        (".vscode/mcp.json", "", True),
        ("apps/one/mcp.json", "", True),
        ("apps/.mcp/one.yaml", "", True),
        ("package.json", "", False),
        ("mcp.yaml", "", False),
        (".mcp/notes.md", "", False),
        (".mcp/deeper/one.json", "", False),
        ("node_modules/x/mcp.json", "", False),
        ("vendor/x/.mcp/one.json", "", False),
        ("tests/fixtures/mcp.json", "", False),
        ("tests/fixtures/mcp.json", "tests", False),
        ("tests/fixtures/mcp.json", "tests/fixtures", True),
        ("apps/mcp.json", "apps", True),
        ("apps2/mcp.json", "apps", False),
        ("mcp.json", "apps", False),
        (".mcp/one.json", ".mcp", True),
        ("tools/weather.json", "tools/weather.json", True),
        ("tools/weather.md", "tools/weather.md", False),
    ],
)
def test_which_files_are_definitions(path: str, below: str, *, counts: bool) -> None:
    assert is_definition(path, below) is counts


def test_the_platforms_own_format_says_all_of_an_mcp() -> None:
    text = own("weather", description="Tells the weather", tags=["b", "a"], version="2.3.4")
    [one] = found("mcp.json", text)
    assert (one.slug, one.entry, one.name, one.version) == ("weather", "", "A tool", "2.3.4")
    assert (one.description, one.tags) == ("Tells the weather", ["a", "b"])
    assert one.config == json.loads(text)["config"]


def test_what_a_definition_does_not_say_is_left_open() -> None:
    [one] = found(".mcp/a.yaml", "name: My Weather Tool\nconfig:\n  servers:\n    - image: acme/weather\n")
    assert (one.slug, one.name) == ("my-weather-tool", "My Weather Tool")
    assert (one.version, one.description, one.tags) == (None, None, None)


def test_files_of_other_programs_have_an_mcp_for_each_entry() -> None:
    roo = {
        "mcpServers": {
            "Git Hub": {"command": "npx", "args": ["-y", "x"], "alwaysAllow": ["a"]},
            "b": {"url": "https://b.example/mcp"},
        }
    }
    one, two = found("mcp_settings.json", json.dumps(roo))
    assert [(each.slug, each.entry, each.name) for each in (one, two)] == [
        ("git-hub", "Git Hub", None),
        ("b", "b", None),
    ]
    assert one.config["servers"][0]["alwaysAllow"] == ["a"]
    code = {"servers": {"c": {"command": "x", "env": {"API_KEY": "${input:api-key}"}}}, "inputs": []}
    [three] = found(".vscode/mcp.json", json.dumps(code))
    assert three.config["servers"] == [{"name": "c", "command": "x", "env": {"API_KEY": "${API_KEY}"}}]


def test_a_server_json_is_one_definition() -> None:
    package = {
        "registryType": "npm",
        "identifier": "@acme/x",
        "version": "1.2.3",
        "transport": {"type": "stdio"},
    }
    text = json.dumps(
        {"name": "io.acme/x-server", "description": "X", "version": "1.2.3", "packages": [package]}
    )
    [one] = found("server.json", text)
    assert (one.slug, one.entry, one.version, one.description) == ("x-server", "", "1.2.3", "X")
    assert one.config["servers"][0]["args"] == ["-y", "@acme/x@1.2.3"]


_BOMB = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("mcp.json", "{", "line 1, column 2"),
        ("mcp.json", '{"a": 1,\n // said\n "b": 2}', "line 2, column 2; comments are not read"),
        ("mcp.json", '{"config": {}, "config": {}}', "says twice: config"),
        ("mcp.json", "[" * 100_000, "nested too deeply"),
        ("mcp.json", '{"config": {"servers": NaN}}', "not finite"),
        ("mcp.json", "[]", "is no object"),
        ("mcp.json", b"\xff\xfe", "is not UTF-8"),
        ("mcp.json", b" " * (LARGEST + 1), f"more than {LARGEST} bytes"),
        ("mcp.json", "{}", "it has none of config, mcpServers"),
        ("mcp.json", '{"servers": [{"command": "x"}]}', "servers is a list"),
        ("mcp.json", '{"config": {"servers": []}}', "neither a slug nor a name"),
        ("mcp.json", '{"mcpServers": {"a": "npx"}}', "mcpServers.a"),
        ("mcp.json", '{"mcpServers": {"a": {"args": []}}}', "exactly one of url, command and image"),
        ("mcp.json", '{"mcpServers": {"äö": {"command": "x"}}}', "no letters or digits"),
        ("mcp.json", '{"mcpServers": {"api": {"command": "x"}}}', "reserved"),
        ("mcp.json", '{"slug": "a", "config": {"servers": [{"command": "x", "port": 0}]}}', "servers.0.port"),
        ("mcp.json", '{"slug": "a", "conifg": 1, "config": {}}', "conifg"),
        (
            "server.json",
            '{"name": "a/b", "version": "1", "packages": [{"registryType": "x"}]}',
            "npm, pypi and oci",
        ),
        (".mcp/a.yaml", "a: [1\n", "line 2"),
        (".mcp/a.yaml", "a: 1\na: 2\n", "'a' twice at line 2"),
        (".mcp/a.yaml", _BOMB, "alias"),
        (".mcp/a.yaml", "a: !!python/object/apply:os.system [x]\n", "tag"),
        (".mcp/a.yaml", "a: 1\n---\nb: 2\n", "another document"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(path: str, content: str | bytes, reason: str) -> None:
    assert reason in refused(path, content)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ({"command": "x", "env": {"GITHUB_TOKEN": "abc"}}, "servers.0.env.GITHUB_TOKEN"),
        (
            {"url": "https://a.example", "headers": {"Authorization": "Bearer x"}},
            "servers.0.headers.Authorization",
        ),
        ({"command": "x", "args": ["--api-key", "abc"]}, "servers.0.args.1"),
        ({"command": "x", "args": ["--api-key=abc"]}, "servers.0.args.0"),
        ({"command": "x", "args": ["run", "ghp_" + "a1" * 18]}, "servers.0.args.1"),
        ({"url": "https://me:word@a.example/mcp"}, "servers.0.url"),
        ({"url": "https://a.example/mcp?api_key=abc"}, "servers.0.url"),
        ({"command": "x", "note": "sk-" + "a1" * 18}, "servers.0.note"),
    ],
)
def test_a_credential_in_plain_is_refused_and_not_repeated(server: dict[str, Any], place: str) -> None:
    reason = refused("mcp.json", json.dumps({"mcpServers": {"a": server}}))
    assert f"a credential stands in it in plain ({place})" in reason
    assert "abc" not in reason
    assert "a1a1" not in reason


def test_references_and_harmless_values_are_no_credentials() -> None:
    server = {
        "command": "x",
        "args": ["--api-key", "${KEY}", "--token=${TOKEN}", "--max-tokens", "100", "--password"],
        "env": {"API_KEY": "${KEY}", "TOKEN": "", "LEVEL": "debug"},
    }
    [one] = found("mcp.json", json.dumps({"mcpServers": {"a": server}}))
    assert one.config["servers"][0]["env"] == server["env"]


def test_yaml_is_read_as_json_would_say_it() -> None:
    text = "slug: a\nconfig:\n  servers:\n    - command: x\n      args: [yes, 22:22, '010', no]\n"
    [one] = found(".mcp/a.yaml", text)
    assert one.config["servers"][0]["args"] == ["yes", "22:22", "010", "no"]
