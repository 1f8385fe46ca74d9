"""Which addresses the platform connects to when somebody else names them: a guard against SSRF.

The rule is asked about the address that a connection is made to, after name resolution: a name says
nothing, and may resolve to something else a moment later.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_MAPPED: Final = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped, RFC 4291
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
)
"""Networks whose addresses carry an IPv4 address in their last 32 bits."""

_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle Cloud
            "fd00:ec2::254",  # AWS
            "fd00:42::42",  # Scaleway
            "fd20:ce::254",  # Google Cloud
        ),
    )
)
"""Where clouds tell machines their credentials, beside 169.254.0.0/16 and fe80::/10."""

_NOWHERE: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "240.0.0.0/4",
            "64:ff9b:1::/48",  # NAT64 of one's own network, RFC 8215: it may hold IPv4 at any place
            "fec0::/10",  # once site-local, RFC 3879
        ),
    )
)


def refusal(address: str, *, private: bool) -> str | None:
    """Say why no connection may be made to this IP address; None if one may.

    Args:
        address: An IPv4 or IPv6 address; forms that carry an IPv4 address are judged by that one too.
        private: Whether loopback and private networks are allowed.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "is no IP address"
    for form in _forms(found):
        reason = _never(form)
        if reason is None and not private and not form.is_global:
            reason = "is a loopback address" if form.is_loopback else "is not a public address"
        if reason is not None:
            return reason
    return None


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Give what an address stands for: the IPv4 addresses in it, or itself."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return [address]
    if any(address in network for network in _MAPPED):
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    return [address]


def _never(address: IPv4Address | IPv6Address) -> str | None:
    if address in _METADATA:
        return "is a cloud's metadata service"
    if address.is_link_local:
        return "is a link-local address"
    if address.is_unspecified or any(address in network for network in _NOWHERE):
        return "is no address of a server"
    if address.is_multicast:
        return "is a multicast address"
    return None
