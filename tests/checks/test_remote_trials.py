"""Trying servers that run elsewhere: by their address, and no further."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.checks.talk import Subject, TrialFault
from activities.clients.server_talk import ServerTalk
from mcp_platform.contracts.checks import SafeCall, TrialOutcome, TrialReport
from tests.checks.asking import Asking, asking
from tests.checks.remote_server import RemoteServer, remote_server
from tests.platform import RunningPlatform, free_port


@pytest.fixture
async def trials(platform: RunningPlatform) -> AsyncIterator[Asking]:
    async with asking(platform) as opened:
        yield opened


@pytest.fixture
async def remote() -> AsyncIterator[RemoteServer]:
    async with remote_server() as opened:
        yield opened


async def attempt(trials: Asking, url: str, **changes: Any) -> TrialReport:
    """Try the server at an address."""
    server = {"name": "far", "url": url} | changes.pop("server", {})
    return await trials.attempt(server, may_run_commands=False, **changes)


async def test_a_remote_server_is_asked_for_its_tools_and_called(
    trials: Asking, remote: RemoteServer
) -> None:
    report = await attempt(trials, f"{remote.url}/mcp", call=SafeCall(tool="look"))
    assert (report.outcome, report.driver, report.era) == (TrialOutcome.PASSED, "remote", "2025-11-25")
    assert report.server_info == {"name": "far", "version": "3"}
    assert [tool["name"] for tool in report.tools] == ["look"]
    assert report.call is not None
    assert report.call.ok
    assert len(report.call.answer) == 2000


async def test_secrets_are_not_even_made_up_for_a_remote_server(trials: Asking, remote: RemoteServer) -> None:
    headers = {"Authorization": "Bearer ${TOKEN}", "X-Region": "eu"}
    report = await attempt(trials, f"{remote.url}/mcp", server={"headers": headers})
    assert report.outcome is TrialOutcome.PASSED
    assert report.placeholders == ["TOKEN"]
    assert {sent.get("X-Region") for sent in remote.headers} == {"eu"}
    assert {sent.get("Authorization") for sent in remote.headers} == {None}


async def test_a_server_that_asks_for_credentials_is_not_tried_rather_than_bad(
    trials: Asking, remote: RemoteServer
) -> None:
    report = await attempt(trials, f"{remote.url}/closed")
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert report.reason == "it asks for credentials (HTTP 401)"


async def test_an_address_with_a_secret_in_it_is_not_tried(trials: Asking, remote: RemoteServer) -> None:
    report = await attempt(trials, f"{remote.url}/${{TENANT}}/mcp")
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert "TENANT" in (report.reason or "")
    assert remote.asked == []


@pytest.mark.parametrize("path", ["page", "broken", "listless"])
async def test_what_does_not_speak_mcp_fails(trials: Asking, remote: RemoteServer, path: str) -> None:
    report = await attempt(trials, f"{remote.url}/{path}?key=hidden")
    assert report.outcome is TrialOutcome.FAILED
    assert report.reason
    assert "hidden" not in report.reason


async def test_silence_is_given_up_in_time(trials: Asking, remote: RemoteServer) -> None:
    # Long enough for the handshake before it, also where the machine pauses.
    report = await attempt(trials, f"{remote.url}/silent", patience=5.0)
    assert (report.outcome, report.reason) == (TrialOutcome.FAILED, "no answer to tools/list within 5 s")
    gone = await attempt(trials, f"http://127.0.0.1:{free_port()}/mcp")
    assert gone.outcome is TrialOutcome.FAILED
    assert "nothing answers at its address" in (gone.reason or "")


async def test_more_tools_than_anybody_keeps_are_left_out_and_that_is_said(
    trials: Asking, remote: RemoteServer
) -> None:
    report = await attempt(trials, f"{remote.url}/many")
    assert report.outcome is TrialOutcome.PASSED
    assert 0 < len(report.tools) <= 200
    assert "too large, too many or malformed" in (report.reason or "")


async def test_a_plain_api_answers_and_its_tools_are_the_configured_ones(
    trials: Asking, remote: RemoteServer
) -> None:
    config = {
        "servers": [{"name": "api", "url": f"{remote.url}/api", "type": "rest"}],
        "tools": [
            {"name": "list_cities", "request": {"method": "GET", "path": "/cities"}},
            {"name": "add_city", "request": {"method": "POST", "path": "/cities"}},
        ],
    }
    read = await (await trials.begin(config, call=SafeCall(tool="list_cities"))).result()
    assert read.outcome is TrialOutcome.PASSED, read
    assert [tool["name"] for tool in read.tools] == ["list_cities", "add_city"]
    assert read.call is not None
    assert "/api/cities" in read.call.answer
    written = await (await trials.begin(config, call=SafeCall(tool="add_city"))).result()
    assert written.outcome is TrialOutcome.PASSED
    assert written.call is None
    assert remote.asked == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/mcp", "http://169.254.169.254/latest", "http://[::1]:1/"]
)
async def test_addresses_within_are_not_connected_to_where_that_is_not_allowed(url: str) -> None:
    async with ServerTalk(private=False) as talk:
        with pytest.raises(TrialFault, match=r"not a public|loopback|link-local|metadata|may not"):
            await talk.look(Subject(url, url, remote=True), None, 5.0)
