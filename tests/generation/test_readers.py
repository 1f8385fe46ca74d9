"""What files of a repository and documents make of themselves, without a platform around."""

import json
from pathlib import Path
from typing import Any

import pytest

from activities.building import BuildFailed
from activities.generation import drafts
from activities.generation.repositories import Repository, read_blocks, read_repository
from activities.generation.words import name_from, search_text, slug_from
from mcp_platform.contracts.generation import Wish

URL = "https://git.example.com/team/tiny.git"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def read(folder: Path, files: dict[str, str]) -> Repository:
    """Read a folder of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_repository(folder, URL, COMMIT)


def commands(repository: Repository) -> list[str]:
    """Give the command lines of all that was found."""
    return [
        " ".join([server.get("command") or server.get("url", ""), *server.get("args", [])])
        for found in repository.found
        for server in found.config["servers"]
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mcp.json", '{"mcpServers": {"a": {"command": "uvx", "args": ["a-server"]}}}'),
        (".mcp.json", '{"mcpServers": {"a": {"command": "uvx", "args": ["a-server"]}}}'),
        (".vscode/mcp.json", '{"servers": {"a": {"command": "uvx", "args": ["a-server"]}}}'),
        ("mcp_settings.json", '{"mcp": {"servers": {"a": {"command": "uvx", "args": ["a-server"]}}}}'),
        (".mcp/a.yaml", "command: uvx\nargs: [a-server]\n"),
        (".mcp/a.json", '{"servers": [{"name": "a", "command": "uvx", "args": ["a-server"]}]}'),
        (
            ".mcp/own.yml",
            "name: Mine\nconfig: {servers: [{name: a, command: uvx, args: [a-server]}]}\n",
        ),
    ],
)
def test_a_definition_is_read_wherever_it_stands(tmp_path: Path, name: str, text: str) -> None:
    assert commands(read(tmp_path, {name: text})) == ["uvx a-server"]


def test_what_runs_files_of_the_repository_is_built_from_it(tmp_path: Path) -> None:
    local = {"mcpServers": {"a": {"command": "python", "args": ["server.py"], "cwd": "/srv/a"}}}
    repository = read(tmp_path, {"mcp.json": json.dumps(local)})
    (server,) = repository.found[0].config["servers"]
    assert server == {
        "name": "a",
        "command": "python",
        "args": ["server.py"],
        "build": {"git": {"url": URL, "ref": COMMIT}},
    }


def test_a_folder_of_a_repository_is_read_by_itself(tmp_path: Path) -> None:
    project = '[project]\nname = "inner-mcp"\n[project.scripts]\ninner-mcp = "a:b"\n'
    package = {"name": "inner-mcp", "bin": "index.js"}
    files = {"src/inner/pyproject.toml": project, "src/inner/package.json": json.dumps(package)}
    read(tmp_path, files | {"mcp.json": "[]"})
    repository = read_repository(tmp_path, URL, COMMIT, path="src/inner")
    python, node = (found.config["servers"][0] for found in repository.found)
    assert python["args"] == ["--from", f"git+{URL}@{COMMIT}#subdirectory=src/inner", "inner-mcp"]
    assert node["command"] == "inner-mcp"
    git = {"url": URL, "ref": COMMIT, "path": "src/inner"}
    assert python["build"] == node["build"] == {"git": git}
    told = [drafts.from_found("t", 0, Wish(), repository, found)[0] for found in repository.found]
    assert [draft.out_of_reach for draft in told] == [False, True]
    (tmp_path / "away").symlink_to("/etc")
    for path in ("none", "src/inner/pyproject.toml", "away"):
        with pytest.raises(BuildFailed, match=f"has no folder {path}"):
            read_repository(tmp_path, URL, COMMIT, path=path)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"command": "bash", "args": ["-c", "id"]}, "runs bash"),
        ({"command": "/usr/local/bin/thing"}, "runs thing"),
        ({"command": "docker", "args": ["run", "x"]}, "runs docker itself"),
        ({"command": "node", "args": ["/path/to/index.js"]}, "a path that everybody has to fill in"),
        ({}, "runs nothing"),
    ],
)
def test_what_runs_nowhere_else_is_left_out_with_the_reason(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    repository = read(tmp_path, {"mcp.json": json.dumps({"mcpServers": {"a": entry}})})
    assert repository.found == []
    assert any(note.startswith("mcp.json: a: ") and reason in note for note in repository.notes)


@pytest.mark.parametrize(
    "files",
    [
        {"mcp.json": "{"},
        {"mcp.json": "[1]"},
        {"mcp.json": '{"mcpServers": []}'},
        {"mcp.json": '{"mcpServers": {"a": 7}}'},
        {"server.json": '{"packages": 7}'},
        {"server.json": '{"packages": [7]}'},
        {"server.json": '{"packages": [{"registryType": "cargo", "identifier": "x"}]}'},
        {".mcp/a.yaml": "a: &x [1]\nb: *x\n"},
        {".mcp/a.yaml": "- " * 3_000},
        {"pyproject.toml": "[project"},
        {"pyproject.toml": '[project]\nname = "plain"\n[project.scripts]\nplain = "a:b"\n'},
        {"pyproject.toml": '[project]\nname = "an-mcp"\ndependencies = ["mcp"]\n'},
        {"package.json": "7"},
        {"package.json": '{"name": "a-mcp", "bin": 7}'},
        {"package.json": '{"name": "a-mcp", "bin": {"../../sh": "x"}}'},
        {"mcp.json": "[" * 100_000},
        {"mcp.json": '{"mcpServers": {"a": {"command": "uvx"}}}' + " " * 1_100_000},
    ],
)
def test_what_cannot_be_read_gives_nothing_and_harms_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    assert read(tmp_path, files).found == []


def test_blocks_of_a_readme_are_read_however_they_are_written() -> None:
    inner = '"mcpServers": {"a": {"command": "npx", "args": ["-y", "a-server"]}}'
    text = f"""\
# A

```json
{{{inner}}}
```

~~~jsonc
{inner},
~~~

```json
{{"mcpServers": {{"docker": {{"command": "docker", "args": []}}, "far": {{"url": "https://a.example.com"}}}}}}
```

```json
{{"mcpServers": {{ // with a comment
}}}}
```
"""
    assert [key for key, _ in read_blocks(text)] == ["a", "a", "far"]


def test_the_variables_that_a_readme_tells_are_those_of_the_script(tmp_path: Path) -> None:
    block = {"mcpServers": {"a": {"command": "uvx", "args": ["tiny"], "env": {"TINY_KEY": "<key>"}}}}
    project = '[project]\nname = "tiny-mcp"\n[project.scripts]\ntiny-mcp = "a:b"\n'
    repository = read(
        tmp_path, {"README.md": f"```json\n{json.dumps(block)}\n```\n", "pyproject.toml": project}
    )
    draft, config = drafts.from_found("task", 0, Wish(), repository, repository.found[0])
    assert config["servers"][0]["env"] == {"TINY_KEY": "${TINY_KEY}"}
    assert draft.secrets == {"TINY_KEY": ""}


def test_an_api_that_makes_too_large_a_configuration_is_sent_elsewhere() -> None:
    words = "x" * 1_000
    paths = {f"/{number}": {"get": {"description": words, "responses": {}}} for number in range(450)}
    document = {"openapi": "3.1.0", "servers": [{"url": "https://a.example.com"}], "paths": paths}
    with pytest.raises(drafts.TooLarge, match="POST /api/v1/mcps/import/openapi"):
        drafts.from_openapi("task", Wish(openapi=document))


def test_requirements_are_searched_by_their_words() -> None:
    wish = Wish(
        description="For our team",
        requirements={"tool_type": "sql_query", "read_only": True, "writes": False, "n": 3, "of": ["a_b"]},
    )
    assert search_text(wish) == "For our team sql query read only a b"


def test_names_and_slugs_are_made_of_what_says_something() -> None:
    assert slug_from("", "天气", "Weather Tool!") == "weather-tool"
    assert slug_from("bridge") == "bridge-mcp"
    assert slug_from("天气") == "generated"
    assert name_from(" ", "a\n b") == "a b"
    assert name_from("") == "Generated"
