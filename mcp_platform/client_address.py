"""Where a request comes from, behind proxies too."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network


def client_address(scope: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """Give the address that a request comes from.

    Anybody can write `X-Forwarded-For`, so it counts only as far as trusted proxies wrote it: from its
    end, the first address that is no trusted proxy's.

    Args:
        scope: The request's ASGI scope.
        trusted: Addresses and networks of the proxies (`api.trusted_proxies`).
    """
    client = scope.get("client")
    peer = _parse(client[0]) if client else None
    if peer is None:
        return str(client[0]) if client else "unknown"
    networks = _networks(tuple(trusted))
    if not _among(peer, networks):
        return str(peer)
    for hop in reversed(_hops(scope["headers"])):
        address = _parse(hop)
        if address is None:
            break
        peer = address
        if not _among(peer, networks):
            break
    return str(peer)


def address_group(address: str) -> str:
    """Give what to count an address by: of IPv6 its /64 network, since whoever has one has all of it."""
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Network((int(parsed), 64), strict=False))


@lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(entry, strict=False) for entry in trusted)


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(values).split(",") if hop.strip()]


def _among(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, also with a port or in brackets as some proxies write it."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    # A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
