"""Schemathesis calls the API in the ways that its own document allows, and in many that it does not."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from mcp_platform.settings import ReplicaSettings, SecuritySettings
from tests.platform import RunningPlatform, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.waiting import in_one_task

CONFIG = Path(__file__).with_name("schemathesis.toml")
STREAMS = ("/events", "/api/v1/deployments/{deployment_id}/logs/stream")
"""End only with their credential; tests/tasks and tests/logs read them."""
ACCOUNT = "^/api/v1/auth/"
"""Takes a session, not a key; and one of its requests ends the session."""


@pytest.fixture(scope="module")
async def open_platform(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[RunningPlatform]:
    """Give a platform that starts no commands and locks nobody out: thousands of sign-ins fail here."""
    settings = quick_settings(tmp_path_factory.mktemp("schema")).model_copy(
        update={
            "replicas": ReplicaSettings(process_driver=False),
            "security": SecuritySettings(lockout_threshold=10**6, lockout_address_threshold=10**6),
        }
    )
    client = await new_namespace(temporal_environment.client)
    async with in_one_task(running_platform(settings, client)) as platform:
        yield platform


async def found_by_schemathesis(platform: RunningPlatform, header: str, *options: str) -> str:
    """Run it with all its checks; what it found wrong, or nothing."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"),
        f"{platform.url}/api/openapi.json",
        *("--header", header, *(word for path in STREAMS for word in ("--exclude-path", path)), *options),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "3"),
        *("--generation-deterministic", "--no-shrink"),
        *("--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "30"),
        *("--no-color", "--warnings", "off"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "" if process.returncode == 0 else output.decode()[-20_000:]


@pytest.mark.timeout(900)
async def test_an_administrators_key_finds_nothing_wrong(open_platform: RunningPlatform) -> None:
    admin = await open_platform.admin()
    key = (await admin.post("/api/v1/auth/api-keys", json={"name": "schema"})).json()["key"]
    assert await found_by_schemathesis(open_platform, f"X-API-Key: {key}") == ""


@pytest.mark.timeout(900)
async def test_a_members_session_finds_nothing_wrong_in_their_account(open_platform: RunningPlatform) -> None:
    member = await open_platform.member()
    header = f"Authorization: {member.headers['Authorization']}"
    assert await found_by_schemathesis(open_platform, header, "--include-path-regex", ACCOUNT) == ""
