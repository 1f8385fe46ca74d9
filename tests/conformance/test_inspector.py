"""Inspector's command line, through the gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_platform.contracts.deployments import Driver
from tests.conformance.suite import everything, inspect
from tests.gateway.conftest import Platform

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def served(platform: Platform) -> AsyncIterator[Platform]:
    """Put the fixture server behind the gateway."""
    async with everything() as url:
        deployment = await platform.deploy("everything", url, driver=Driver.REMOTE)
        yield platform
        await platform.place(deployment)


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
async def test_inspector_lists_and_calls_tools(served: Platform, era: str) -> None:
    key = ("--header", f"X-API-Key: {served.key}")
    url = served.address("everything")
    status, output = await inspect(url, era, *key, "--method", "tools/list")
    assert status == 0, output
    names = {tool["name"] for tool in _result(output)["tools"]}
    assert "test_simple_text" in names
    call = ("--method", "tools/call", "--tool-name", "test_simple_text")
    status, output = await inspect(url, era, *key, *call)
    assert status == 0, output
    assert _result(output)["content"][0]["text"] == "This is a simple text response for testing."


async def test_inspector_without_a_credential_is_refused(served: Platform) -> None:
    status, output = await inspect(served.address("everything"), "auto", "--method", "tools/list")
    assert status != 0
    assert "test_simple_text" not in output


def _result(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output[output.index("{") :])
    result: dict[str, Any] = found.get("result", found)
    return result
