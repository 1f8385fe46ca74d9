"""Where requests come from: nobody chooses their address by writing a header."""

import pytest
from pydantic import ValidationError

from mcp_platform.client_address import address_group, client_address
from mcp_platform.settings import ApiSettings

PROXIES = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]


def seen(peer: str, *forwarded: str, trusted: list[str] = PROXIES) -> str:
    """Tell which address a request from this peer is taken to come from."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return client_address({"client": (peer, 4711), "headers": headers}, trusted)


def test_without_a_trusted_proxy_the_peer_itself_counts() -> None:
    assert seen("198.51.100.7", "203.0.113.9") == "198.51.100.7"
    assert seen("127.0.0.1", "203.0.113.9", trusted=[]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9", "10.1.2.3"], "203.0.113.9"),
        # What stands before the last stranger was written by that stranger.
        (["1.2.3.4, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
        ([], "127.0.0.1"),
        (["10.1.2.3"], "10.1.2.3"),
        (["nonsense"], "127.0.0.1"),
        (["203.0.113.9, nonsense, 10.1.2.3"], "10.1.2.3"),
        (["203.0.113.9:5000"], "203.0.113.9"),
        (["[2001:db8::1]:5000"], "2001:db8::1"),
        (["2001:db8::1, fd00::5"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
    ],
)
def test_behind_trusted_proxies_the_last_address_that_is_none_of_them_counts(
    forwarded: list[str], expected: str
) -> None:
    assert seen("127.0.0.1", *forwarded) == expected


def test_an_ipv4_peer_of_a_socket_for_both_families_is_the_same_address() -> None:
    assert seen("::ffff:127.0.0.1", "203.0.113.9") == "203.0.113.9"
    assert seen("::ffff:198.51.100.7") == "198.51.100.7"


def test_a_peer_without_an_address_has_a_name_all_the_same() -> None:
    assert client_address({"client": None, "headers": []}, PROXIES) == "unknown"
    assert client_address({"client": ("testclient", 1), "headers": []}, PROXIES) == "testclient"


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("203.0.113.9", "203.0.113.9"),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_addresses_count_by_their_network(address: str, group: str) -> None:
    assert address_group(address) == group


def test_what_is_no_address_or_network_is_refused_as_a_setting() -> None:
    assert ApiSettings(trusted_proxies=["10.1.2.3/8"]).trusted_proxies == ["10.0.0.0/8"]
    with pytest.raises(ValidationError):
        ApiSettings(trusted_proxies=["proxy.example.com"])
