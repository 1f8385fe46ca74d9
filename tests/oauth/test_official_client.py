"""The official client signs in by itself: registered, and described by its own document, in both eras."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from api.oauth.answers import OAuthError
from api.opening import _oauth_clients
from gateway.authorization.outbound import Outbound
from mcp_platform.contracts.oauth import RemoteAway
from tests.access.people import Person
from tests.gateway.conftest import MODERN
from tests.oauth.browser import REDIRECT, Browser, Program
from tests.oauth.conftest import Advertised
from tests.oauth.documents import Documents, documents_served
from tests.platform import RunningPlatform
from tests.waiting import in_one_task


class Kept(TokenStorage):
    """What the client keeps between runs."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.fixture(scope="module")
async def documents(
    platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Documents]:
    folder: Path = tmp_path_factory.mktemp("documents")
    async with in_one_task(documents_served(folder)) as served:
        # The platform's own never reads from this machine.
        clients, outbound = platform.parts.oauth_clients, Outbound(private=True)
        outbound.tls.load_verify_locations(served.certificate)
        own, clients.outbound = clients.outbound, outbound
        yield served
        clients.outbound = own
        await outbound.close()


def provider(
    endpoint: Advertised, browser: Browser, someone: Person, kept: Kept, document: str | None = None
) -> OAuthClientProvider:
    """Give the client's own way to sign in, with somebody at the browser."""
    came: dict[str, str] = {}

    async def open_browser(address: str) -> None:
        came.update(await browser.let_in(address, someone.username))

    async def come_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=came["code"], state=came["state"], iss=came["iss"])

    metadata = OAuthClientMetadata.model_validate(
        {"client_name": "Official", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    )
    return OAuthClientProvider(
        endpoint.address, metadata, kept, open_browser, come_back, client_metadata_url=document
    )


async def say(endpoint: Advertised, auth: OAuthClientProvider, mode: str) -> str:
    """Call a tool."""
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        transport = streamable_http_client(endpoint.address, http_client=http)
        async with Client(transport, mode=mode, cache=None) as client:
            result = await client.call_tool("say", {})
            return str(result.content[0].text)  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_the_official_client_registers_and_signs_in(
    endpoint: Advertised, browser: Browser, someone: Person, mode: str
) -> None:
    kept = Kept()
    assert "oauth" in await say(endpoint, provider(endpoint, browser, someone, kept), mode)
    assert kept.client is not None
    assert kept.tokens is not None
    # The next time nobody has to agree: the refresh token is good for the next pair.
    first = kept.tokens
    again = provider(endpoint, browser, someone, kept)
    await again._initialize()
    again.context.token_expiry_time = 1.0
    again.context.protocol_version = "2025-11-25"
    assert "oauth" in await say(endpoint, again, mode)
    assert kept.tokens.refresh_token not in {None, first.refresh_token}


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_the_official_client_signs_in_by_its_own_document(
    endpoint: Advertised, browser: Browser, someone: Person, documents: Documents, mode: str
) -> None:
    address = documents.put(f"/{mode}/client.json")
    kept = Kept()
    assert "oauth" in await say(endpoint, provider(endpoint, browser, someone, kept, address), mode)
    assert kept.client is not None
    assert kept.client.client_id == address
    grants = (await someone.caller.get("/api/v1/auth/grants")).json()["grants"]
    assert [(grant["client_id"], grant["client_name"]) for grant in grants] == [(address, "Described")]


async def refused(program: Program, browser: Browser, username: str) -> str:
    """Sign in for a program that is not let in; what is said."""
    page = await browser.get(program.address())
    assert page.status_code == 200, page.text
    answer = await browser.sign_in(page, username)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    return re.sub(r"<style>.*</style>", "", answer.text, flags=re.DOTALL)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "https://localhost/other"},
        {"redirect_uris": ["http://client.example/"]},
        {"redirect_uris": None},
        {"client_secret": "x"},
        {"padding": "x" * 70_000},
    ],
)
async def test_a_document_that_is_not_the_clients_lets_nobody_in(
    platform: RunningPlatform,
    endpoint: Advertised,
    browser: Browser,
    someone: Person,
    documents: Documents,
    changes: dict[str, object],
) -> None:
    address = documents.put(f"/{'-'.join(changes)}.json", **changes)
    program = Program(platform, browser, address, endpoint.address)
    assert "cannot be read from the internet" in await refused(program, browser, someone.username)


async def test_a_document_without_the_redirect_uri_lets_nobody_in(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser, someone: Person, documents: Documents
) -> None:
    address = documents.put("/other.json", redirect_uris=["https://client.example/back"])
    program = Program(platform, browser, address, endpoint.address)
    assert "none that this client registered" in await refused(program, browser, someone.username)


async def test_what_a_document_s_address_leads_to_is_not_told(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser, someone: Person, documents: Documents
) -> None:
    documents.served["/elsewhere.json"] = documents.put("/right.json")
    addresses = [
        f"{documents.url}/elsewhere.json",
        f"{documents.url}/missing.json",
        "https://169.254.169.254/latest",
        "https://localhost:1/client.json",
    ]
    answers = set()
    for address in addresses:
        program = Program(platform, browser, address, endpoint.address)
        answers.add(await refused(program, browser, someone.username))
    assert len(answers) == 1, answers
    for address in (f"{documents.url}/", f"{documents.url}/a/../right.json"):
        program = Program(platform, browser, address, endpoint.address)
        assert (await browser.get(program.address())).status_code == 400


async def test_a_document_is_read_only_for_somebody_who_signed_in_and_a_failure_once_a_minute(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser, someone: Person, documents: Documents
) -> None:
    program = Program(platform, browser, f"{documents.url}/late.json", endpoint.address)
    for changes in ({}, {"resource": f"{platform.url}/mcp/none/v1"}, {"code_challenge": None}):
        await browser.get(program.address(**changes))
    assert "/late.json" not in documents.asked
    for _ in range(2):
        await refused(program, browser, someone.username)
    assert documents.asked.count("/late.json") == 1


async def test_no_document_is_read_from_a_private_address(
    platform: RunningPlatform, endpoint: Advertised, documents: Documents
) -> None:
    async with AsyncExitStack() as stack:
        clients = _oauth_clients(platform.parts.stores, stack)
        clients.outbound.tls.load_verify_locations(documents.certificate)
        with pytest.raises(OAuthError, match="cannot be read"):
            await clients.find(documents.put("/private.json"))
        assert "/private.json" not in documents.asked
        with pytest.raises(RemoteAway, match="loopback"):
            await clients.outbound.get(documents.put("/private.json"))
        with pytest.raises(RemoteAway, match="https"):
            await clients.outbound.get("http://example.com/client.json")
