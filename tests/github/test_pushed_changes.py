"""What a push may change of what runs, and what somebody has to deploy by hand."""

from typing import Any

import pytest

from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.mcps import McpConfig
from storage.deploying.pushed import Runs, objection

UVX = {"command": "uvx", "args": ["--from", "words==1.0.0", "serve"], "env": {"LANG": "C"}}
NPX = {"command": "npx", "args": ["-y", "@acme/words@1.0.0"], "env": {"KEY": "${KEY}"}}
FAR = {"url": "https://words.example/mcp", "headers": {"X-Key": "${KEY}"}}
IMAGE = {"image": "images.example/acme/words:1.0", "env": {"KEY": "${KEY}"}}
OPEN = {"url": "https://words.example/mcp"}
API = {"url": "https://words.example", "type": "rest"}

Server = dict[str, Any]


def runs(server: Server, driver: Driver, **request: Any) -> Runs:
    """Give a server that runs."""
    tools = [{"name": "ask", "request": request}] if request else []
    return Runs(McpConfig.model_validate({"servers": [server], "tools": tools}), None, driver)


@pytest.mark.parametrize(
    ("before", "after", "driver"),
    [
        (UVX, UVX | {"args": ["--from", "words==1.2.0", "serve"]}, Driver.PROCESS),
        (UVX, UVX | {"args": ["--from", "words", "serve"]}, Driver.PROCESS),
        (NPX, NPX | {"args": ["-y", "@acme/words@2.0.0-rc.1"]}, Driver.DOCKER),
        (NPX, {"command": "npx", "args": ["other"]}, Driver.DOCKER),
        (IMAGE, IMAGE | {"image": "images.example/acme/words@sha256:" + "0" * 64}, Driver.DOCKER),
        (OPEN, {"url": "https://else.example/mcp"}, Driver.REMOTE),
        (FAR, {"url": "https://else.example/mcp"}, Driver.REMOTE),
        (None, OPEN, Driver.REMOTE),
        (None, UVX, Driver.DOCKER),
    ],
)
def test_a_pinned_version_is_rolled_out_and_what_gets_no_secrets_and_not_the_host(
    before: Server | None, after: Server, driver: Driver
) -> None:
    assert objection(runs(before, driver) if before else None, runs(after, driver)) is None


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (UVX, UVX | {"command": "/bin/sh", "args": ["-c", "id"]}, "changes args, command "),
        (UVX, UVX | {"args": ["--from", "evil==1.0.0", "serve"]}, "changes args "),
        (UVX, UVX | {"args": ["--from", "words @ git+https://evil.example/x", "serve"]}, "changes args "),
        (UVX, UVX | {"args": ["--from", "words==1.0.0", "serve", "--unsafe"]}, "changes args "),
        (UVX, UVX | {"env": {"PYTHONPATH": "/tmp"}}, "changes env "),
        (UVX, UVX | {"cwd": "/tmp"}, "changes cwd "),
        ({"command": "node", "args": ["a@1"]}, {"command": "node", "args": ["a@2"]}, "changes args "),
        (None, UVX, "starts no command"),
    ],
)
def test_no_other_command_gets_the_host(before: Server | None, after: Server, reason: str) -> None:
    said = objection(runs(before, Driver.PROCESS) if before else None, runs(after, Driver.PROCESS))
    assert said
    assert reason in said
    assert "deploy it once by hand" in said


@pytest.mark.parametrize(
    ("before", "after", "driver"),
    [
        (FAR, FAR | {"url": "https://evil.example/mcp"}, Driver.REMOTE),
        (FAR, FAR | {"headers": {"X-Key": "${KEY}", "Host": "evil.example"}}, Driver.REMOTE),
        (OPEN, FAR, Driver.REMOTE),
        (None, FAR, Driver.REMOTE),
        (NPX, NPX | {"args": ["-y", "evil@1.0.0"]}, Driver.DOCKER),
        (NPX, NPX | {"args": ["-y", "@acme/words@npm:evil@1.0.0"]}, Driver.DOCKER),
        (NPX, NPX | {"env": {"KEY": "${KEY}", "BASE_URL": "https://evil.example"}}, Driver.DOCKER),
        (IMAGE, IMAGE | {"image": "images.example/evil/words:1.0"}, Driver.DOCKER),
        (IMAGE, FAR, Driver.REMOTE),
    ],
)
def test_no_other_server_gets_a_secret(before: Server | None, after: Server, driver: Driver) -> None:
    was = Driver.DOCKER if before is IMAGE else driver
    said = objection(runs(before, was) if before else None, runs(after, driver))
    assert said
    assert "${KEY}" in said
    assert "deploy it once by hand" in said


def test_requests_of_a_plain_api_count_as_parts_of_its_server() -> None:
    before = runs(API, Driver.REMOTE, path="/words")
    said = objection(before, runs(API, Driver.REMOTE, path="/words", headers={"X-Key": "${KEY}"}))
    assert said
    assert "${KEY}" in said


def test_what_a_server_was_authorized_with_is_sent_to_no_other() -> None:
    there, elsewhere = runs(OPEN, Driver.REMOTE), runs({"url": "https://evil.example/mcp"}, Driver.REMOTE)
    assert objection(there, elsewhere, authorized=True)
    assert objection(None, elsewhere, authorized=True)
    assert objection(there, there, authorized=True) is None


def test_a_push_does_not_turn_a_container_into_a_process() -> None:
    said = objection(runs(UVX, Driver.DOCKER), runs(UVX, Driver.PROCESS))
    assert said
    assert "process driver" in said
