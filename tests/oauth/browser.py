"""A browser that signs in and agrees, and a program that lets itself be let in."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.platform import PASSWORD, RunningPlatform

REDIRECT = "http://127.0.0.1:33418/"


def hidden(page: str) -> dict[str, str]:
    """Read a form's hidden fields."""
    found = re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def query_of(address: str) -> dict[str, str]:
    """Read the parameters of an address, each of which is there once."""
    found = parse_qs(urlsplit(address).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), found
    return {name: values[0] for name, values in found.items()}


class Browser(httpx.AsyncClient):
    """Keeps cookies, and follows no redirect by itself."""

    async def sign_in(self, page: httpx.Response, username: str, password: str = PASSWORD) -> httpx.Response:
        """Fill in the sign-in form of a page."""
        form = {**hidden(page.text), "username": username, "password": password}
        return await self.post(page.url.join("/oauth/sign-in"), data=form)

    async def decide(self, page: httpx.Response, decision: str = "allow") -> httpx.Response:
        """Press a button of the consent page."""
        return await self.post(
            page.url.join("/oauth/consent"), data={**hidden(page.text), "decision": decision}
        )

    async def let_in(self, address: str, username: str) -> dict[str, str]:
        """Do all that a person does; what the client is told at the end."""
        page = await self.get(address)
        assert page.status_code == 200, page.text
        consent = await self.sign_in(page, username)
        assert consent.status_code == 200, consent.text
        answer = await self.decide(consent)
        assert answer.status_code == 303, answer.text
        return query_of(answer.headers["location"])


@dataclass
class Program:
    """A client that was registered, and what it knows of its attempt."""

    platform: RunningPlatform
    http: httpx.AsyncClient
    client_id: str
    resource: str
    secret: str | None = None
    redirect_uri: str = REDIRECT
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def challenge(self) -> str:
        """Of the verifier, by S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def address(self, **changes: str | None) -> str:
        """Where it sends a browser; None leaves a parameter out."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "resource": self.resource,
            "scope": "mcp:tools",
            **changes,
        }
        told = {name: value for name, value in asked.items() if value is not None}
        return f"{self.platform.url}/oauth/authorize?{httpx.QueryParams(told)}"

    async def ask(self, path: str, form: dict[str, str | None]) -> httpx.Response:
        """Send a form to the token endpoint, or to another."""
        told = {"client_id": self.client_id, "client_secret": self.secret, **form}
        data = {name: value for name, value in told.items() if value is not None}
        return await self.http.post(f"{self.platform.url}/oauth/{path}", data=data)

    async def exchange(self, code: str, changes: dict[str, str | None] | None = None) -> httpx.Response:
        """Exchange a code."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": self.verifier,
            "redirect_uri": self.redirect_uri,
            "resource": self.resource,
            **(changes or {}),
        }
        return await self.ask("token", form)

    async def refresh(self, token: str) -> httpx.Response:
        """Exchange a refresh token."""
        return await self.ask("token", {"grant_type": "refresh_token", "refresh_token": token})

    async def tokens(self, browser: Browser, username: str) -> dict[str, Any]:
        """Be let in by somebody."""
        told = await browser.let_in(self.address(), username)
        answer = await self.exchange(told["code"])
        assert answer.status_code == 200, answer.text
        given: dict[str, Any] = answer.json()
        return given
