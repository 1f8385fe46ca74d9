"""Authorization servers behind TLS: trusted as servers are, and told of when they cannot be."""

import pytest

from gateway.authorization.discovery import discover
from gateway.authorization.outbound import Outbound
from mcp_platform.contracts.oauth import AuthorizationRefused, OwnClient
from tests.gateway.conftest import serving
from tests.oauth.remote import Remote, Service
from tests.upstreams.certificates import Authority, Issued
from tests.upstreams.trust import authority
from tests.waiting import in_one_task

__all__ = ["authority"]

HERE = "127.0.0.1"


async def _discover(issued: Issued) -> tuple[Remote, str]:
    remote, outbound = Remote(), Outbound(private=True)
    try:
        async with in_one_task(serving(Service(remote).application, **issued.for_uvicorn)) as remote.url:
            own = OwnClient(redirect_uri="https://platform.example/back")
            found = await discover(outbound, remote.mcp, {"X-Key": "ours"}, own, None)
            return remote, found.token_endpoint
    finally:
        await outbound.close()


async def test_an_authorization_server_of_a_private_authority_is_found(authority: Authority) -> None:
    remote, endpoint = await _discover(authority.issue(HERE))
    assert endpoint == f"{remote.url}/token"
    assert remote.url.startswith("https://")


async def test_one_whose_certificate_has_expired_is_refused_by_name(authority: Authority) -> None:
    with pytest.raises(AuthorizationRefused, match=r"The certificate of 127\.0\.0\.1:\d+ has expired"):
        await _discover(authority.issue(HERE, days=(-3, -1)))
