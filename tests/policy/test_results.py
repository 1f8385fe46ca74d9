"""How much a result may hold, and what it may not show."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from gateway.policy.redaction import Redactor
from gateway.requests import ClientChannel, ClientSession
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.secrets import Secret
from mcp_platform.security.api_keys import new_api_key
from mcp_platform.security.sealing import load_sealer
from mcp_platform.variables import Mask
from tests.front.raw import Session
from tests.gateway.conftest import Platform
from tests.policy.desk import called, desk, govern

SECRET = 'correct"horse/battery'
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


def redactor(*secrets: str) -> Redactor:
    """Make one for these secrets of an MCP."""
    return Redactor(Mask(secrets, "[redacted]"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key={AWS};", "key=[redacted];"),
        ("aws_secret_access_key = " + "a/B+" * 10, "aws_secret_access_key = [redacted]"),
        ("token ghp_" + "a1" * 18, "token [redacted]"),
        ("github_pat_" + "a1" * 30, "[redacted]"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer [redacted]"),
        (f"a\n{PRIVATE_KEY}\nb", "a\n[redacted]\nb"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEpAIB", "[redacted]"),
        (f"mine is {new_api_key()}.", "mine is [redacted]."),
        ("AKIA is a prefix, ghp_short is none, eyJ neither", None),
        ("the secret ingredient", None),
    ],
)
def test_well_known_credentials_are_found_and_plain_words_stay(text: str, shown: str | None) -> None:
    assert redactor().text(text) == (text if shown is None else shown)


def test_secrets_are_found_in_every_text_however_it_is_written() -> None:
    value = {
        "content": [
            {"type": "text", "text": json.dumps({"password": SECRET})},
            {"type": "text", "text": "https://x/?p=correct%22horse%2Fbattery"},
            {"type": "image", "data": SECRET, "mimeType": "image/png"},
        ],
        "structuredContent": {"deep": [{"er": f"<{SECRET}>"}], "number": 5, "nothing": None},
        "requestState": SECRET,
    }
    assert redactor(SECRET).value(value) == {
        "content": [
            {"type": "text", "text": '{"password": "[redacted]"}'},
            {"type": "text", "text": "https://x/?p=[redacted]"},
            {"type": "image", "data": SECRET, "mimeType": "image/png"},
        ],
        "structuredContent": {"deep": [{"er": "<[redacted]>"}], "number": 5, "nothing": None},
        "requestState": SECRET,
    }


async def store_secret(platform: Platform, name: str, value: str) -> None:
    """Store a secret of the author of all MCPs."""
    sealer = load_sealer(platform.settings)
    secret = Secret(
        id=uuid4(),
        holder=platform.user.id.hex,
        name=name,
        created_at=datetime.now(UTC),
        updated_at=datetime.now(UTC),
    )
    async with platform.stores.write() as rows:
        await rows.secrets.add(secret, sealer.seal(value.encode(), secret.purpose))


@pytest.mark.parametrize("old", [True, False])
async def test_an_mcps_own_secrets_are_in_no_result_error_or_notification(
    gateway: Platform, old: bool
) -> None:
    async with desk(legacy=old) as server:
        await store_secret(gateway, "TOKEN", SECRET)
        headers = {"X-Upstream": "${TOKEN}"}
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE, headers=headers)
        server.results["read"] = {
            "content": [{"type": "text", "text": f"it is {SECRET}"}],
            "structuredContent": {"it": SECRET},
        }
        assert SECRET in (await called(gateway, "desk", "read"))["result"]["structuredContent"]["it"]
        await govern(gateway, deployment, redact=True)
        result = (await called(gateway, "desk", "read"))["result"]
        assert result["content"][0]["text"] == "it is [redacted]"
        assert result["structuredContent"] == {"it": "[redacted]"}
        _, body, _ = await gateway.rest("desk", "read", {})
        assert body == {"it": "[redacted]"}
        server.news = [
            {"method": "notifications/progress", "params": {"progress": 1, "message": f"<{SECRET}>"}}
        ]
        heard: list[Any] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        async with gateway.client("desk", "legacy") as client:
            await client.call_tool("read", {}, progress_callback=hear)
        assert heard == ["<[redacted]>"]
        server.error = {"code": -32000, "message": f"not with {SECRET}", "data": {"used": SECRET}}
        error = (await called(gateway, "desk", "read"))["error"]
        assert error == {"code": -32000, "message": "not with [redacted]", "data": {"used": "[redacted]"}}
        await gateway.place(deployment)


async def test_an_mcps_own_secrets_are_not_in_what_its_server_says_outside_of_calls(
    gateway: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(legacy=True) as server:
        await store_secret(gateway, "TOKEN", SECRET)
        headers = {"X-Upstream": "${TOKEN}"}
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE, headers=headers)
        (upstream,) = gateway.gateway._relay.find("desk").upstreams
        said = asyncio.Event()

        async def listen(_session: ClientSession, channel: ClientChannel) -> None:
            while True:
                await said.wait()
                said.clear()
                params = {"level": "info", "data": f"it is {SECRET}"}
                await channel.notify({"method": "notifications/message", "params": params})

        monkeypatch.setattr(upstream, "listen", listen)
        session = Session(gateway.address("desk"), gateway.key)
        await session.open()
        async with session.stream() as news, asyncio.timeout(10):
            said.set()
            assert (await news.get())["params"]["data"] == f"it is {SECRET}"
            await govern(gateway, deployment, redact=True)
            said.set()
            assert (await news.get())["params"]["data"] == "it is [redacted]"
        await gateway.place(deployment)


@pytest.mark.parametrize("old", [True, False])
async def test_a_result_over_the_limit_is_told_and_not_cut(gateway: Platform, old: bool) -> None:
    async with desk(legacy=old) as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, max_response_bytes=2000)
        server.results["read"] = {"content": [{"type": "text", "text": "x" * 1800}]}
        assert "isError" not in (await called(gateway, "desk", "read"))["result"]
        server.results["read"] = {"content": [{"type": "text", "text": "x" * 2000}]}
        result = (await called(gateway, "desk", "read"))["result"]
        assert result["isError"]
        assert "allows 2000" in result["content"][0]["text"]
        status, body, _ = await gateway.rest("desk", "read", {})
        assert (status, body["error_code"]) == (422, "TOOL_ERROR")
        await gateway.place(deployment)
