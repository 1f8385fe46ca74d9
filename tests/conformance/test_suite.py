"""The official conformance suite judges the gateway, and the fixture server behind it."""

from pathlib import Path

import pytest

from mcp_platform.contracts.deployments import Driver
from tests.conformance.conftest import make_public
from tests.conformance.suite import everything, judge
from tests.gateway.conftest import Platform

pytestmark = pytest.mark.timeout(400)

REVISIONS = ["2025-11-25", "2026-07-28"]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_fixture_server_conforms(tmp_path: Path, revision: str) -> None:
    async with everything() as url:
        verdict = await judge(url, revision, tmp_path)
    assert verdict.conforms, str(verdict)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_gateway_conforms(platform: Platform, tmp_path: Path, revision: str) -> None:
    async with everything() as server:
        deployment = await platform.deploy("everything", server, driver=Driver.REMOTE)
        await make_public(platform, deployment)
        verdict = await judge(platform.address("everything"), revision, tmp_path)
        await platform.place(deployment)
    assert verdict.conforms, str(verdict)
