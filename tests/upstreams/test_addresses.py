"""Addresses that the platform does not connect to, whatever name leads there."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.upstreams.connection import Unreachable
from mcp_platform.addresses import refusal
from mcp_platform.errors import UpstreamFailed
from mcp_platform.gateway_settings import GatewaySettings
from mcp_platform.settings import Settings
from mcp_platform.wire import Era
from tests.upstreams.conftest import Desk, call, text
from tests.upstreams.odd import Caller, odd

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "::",
    "0.1.2.3",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1::1.1.1.1",
    "fec0::1",
    "feff::1",
    "::ffff:0:169.254.169.254",
    "not an address",
]
PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "2002:0a00:0001::1",
    "64:ff9b::10.0.0.1",
    "192.0.2.1",
]
PUBLIC = ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_link_local_addresses_are_refused_everywhere(address: str) -> None:
    assert refusal(address, private=True)
    assert refusal(address, private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_unless_allowed(address: str) -> None:
    assert refusal(address, private=True) is None
    assert refusal(address, private=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address, private=False) is None


def test_private_addresses_are_for_embedded_mode_unless_told() -> None:
    assert Settings().private_addresses
    assert not Settings(gateway=GatewaySettings(private_addresses=False)).private_addresses
    production: dict[str, Any] = {
        "mode": "production",
        "sql": {"url": "sqlite+aiosqlite:///x"},
        "documents": {"url": "mongodb://x"},
        "cache": {"url": "redis://x"},
        "temporal": {"address": "x:1"},
        "security": {"master_key": "a" * 44},
    }
    assert not Settings(**production).private_addresses
    assert Settings(**production, gateway=GatewaySettings(private_addresses=True)).private_addresses


async def fine(caller: Caller) -> None:
    """Answer."""
    await caller.answer(caller.result())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_no_way_of_writing_a_private_address_leads_there(desk: Desk, host: str) -> None:
    async with odd(fine) as server:
        url = server.url.replace("127.0.0.1", host)
        with pytest.raises((UpstreamFailed, Unreachable)) as refused:
            await call(desk.open(url, private=False), "x", Era.MODERN)
        assert "does not connect" in str(refused.value) or "resolved" in str(refused.value)
        assert server.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is checked, and private a moment later, leads nowhere."""
    loop = asyncio.get_running_loop()
    asked: list[str] = []
    answers = {"rebinding.example": ["127.0.0.1"], "mixed.example": ["169.254.169.254", "127.0.0.1"]}

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = answers[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    async with odd(fine) as server:
        port = server.url.rsplit(":", 1)[1]
        upstream = desk.open(f"http://mixed.example:{port}")
        assert text(await call(upstream, "x", Era.MODERN)) == "fine"
        assert asked == ["mixed.example"], "the name is resolved once, for the check and the connection"
        assert "Host: mixed.example:" in server.lines[0]
        answers["mixed.example"] = ["169.254.169.254"]
        await asyncio.sleep(0)
        # Each connection is checked: the one that is kept stays, a new one is refused.
        with pytest.raises(UpstreamFailed, match=r"169\.254\.169\.254 is a link-local address"):
            await asyncio.gather(*(call(upstream, "x", Era.MODERN) for _ in range(2)))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a\r\nX-Injected: yes",
        "http://127.0.0.1:1/a b",
        "ftp://127.0.0.1/",
        "http:///nowhere",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
async def test_a_url_that_is_none_is_refused_before_anything_is_sent(desk: Desk, url: str) -> None:
    with pytest.raises(UpstreamFailed, match="URL"):
        await call(desk.open(url), "x", Era.MODERN)


@pytest.mark.parametrize("value", ["a\r\nX-Injected: yes", "a\nb", "a\0b"])
async def test_a_header_that_would_end_early_is_refused(desk: Desk, value: str) -> None:
    async with odd(fine) as server:
        with pytest.raises(UpstreamFailed, match="header"):
            await call(desk.open(server.url, headers={"X-Key": value}), "x", Era.MODERN)
        upstream = desk.open(server.url)
        with pytest.raises(UpstreamFailed, match="header"):
            await call(upstream, "x", Era.MODERN, headers={"Mcp-Param-Region": value})
        assert not any("Injected" in line for line in server.lines)


async def test_a_requests_own_credential_takes_the_place_of_the_configured_one(desk: Desk) -> None:
    async with odd(fine) as server:
        upstream = desk.open(server.url, headers={"Authorization": "Bearer ours", "X-Key": "k"})
        await call(upstream, "x", Era.MODERN, headers={"authorization": "Bearer theirs"})
    assert server.lines[-1].lower().count("authorization:") == 1
    assert "Bearer theirs" in server.lines[-1]
    assert "X-Key: k" in server.lines[-1]
