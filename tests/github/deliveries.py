"""Deliveries of webhooks, signed as GitHub signs them."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from tests.github.syncs import SECRET
from tests.platform import RunningPlatform

PATH = "/api/v1/github/webhook"


def signature(body: bytes, secret: str = SECRET) -> str:
    """Sign a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def deliver(
    platform: RunningPlatform,
    event: str,
    payload: dict[str, Any],
    *,
    secret: str = SECRET,
    delivery: str | None = None,
    form: bool = False,
    query: str = "",
    **headers: str,
) -> httpx.Response:
    """Send an event as GitHub does."""
    body = json.dumps(payload).encode()
    kind = "application/json"
    if form:
        body, kind = f"payload={quote(body.decode())}".encode(), "application/x-www-form-urlencoded"
    given = {
        "Content-Type": kind,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid4()),
        "X-Hub-Signature-256": signature(body, secret),
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await platform.caller().post(f"{PATH}{query}", content=body, headers=given | named)
