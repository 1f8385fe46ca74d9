"""What a delivery may cost before its signature fits."""

from typing import Any

import pytest
from pydantic import SecretStr

from api.v1.github import webhook
from tests.github.deliveries import PATH, deliver
from tests.github.double import GitHubDouble
from tests.github.syncs import bind, bind_to
from tests.platform import RunningPlatform


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the lengths of the bodies that are read as JSON."""
    lengths: list[int] = []
    reading = webhook._Sent._read

    def noted(sent: webhook._Sent) -> dict[str, Any] | None:
        lengths.append(len(sent.body))
        return reading(sent)

    monkeypatch.setattr(webhook._Sent, "_read", noted)
    return lengths


async def test_a_large_body_that_nobody_signed_is_never_read(
    platform: RunningPlatform, github: GitHubDouble, read: list[int]
) -> None:
    bound = await bind(platform, github, {})
    payload = {
        "repository": {"full_name": bound.repository.full_name},
        "x": "x" * webhook.LONGEST_UNSIGNED,
    }
    answer = await deliver(platform, "ping", payload)
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, webhook.LONGEST_UNSIGNED)
    answer = await platform.caller().post(PATH, content=b"[" * 1_000_000)
    assert answer.status_code == 413
    answer = await deliver(platform, "ping", payload, secret="another", query=f"?connection={bound.id}")
    assert answer.status_code == 401
    assert read == []


async def test_a_large_body_is_read_once_its_connection_or_the_app_has_signed_it(
    platform: RunningPlatform, github: GitHubDouble, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform.parts.settings.github, "app_webhook_secret", SecretStr("the App's own"))
    bound = await bind(platform, github, {})
    payload = {"x": "x" * webhook.LONGEST_UNSIGNED}
    answer = await deliver(platform, "ping", payload, query=f"?connection={bound.id}")
    assert answer.json()["message"] == "The webhook works"
    assert (await deliver(platform, "ping", payload, secret="the App's own")).status_code == 200
    assert all(length > webhook.LONGEST_UNSIGNED for length in read)
    assert read


async def test_the_secrets_of_so_many_connections_are_tried_and_no_more(
    platform: RunningPlatform, github: GitHubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = await bind(platform, github, {})
    await bind_to(platform, github, bound.repository, await platform.member())
    monkeypatch.setattr(webhook, "_MOST_CANDIDATES", 1)
    tried: list[bytes | None] = []
    fits = webhook._Sent.fits

    def noted(sent: webhook._Sent, secret: bytes | None) -> bool:
        tried.append(secret)
        return fits(sent, secret)

    monkeypatch.setattr(webhook._Sent, "fits", noted)
    payload = {"repository": {"full_name": bound.repository.full_name}}
    assert (await deliver(platform, "ping", payload, secret="another")).status_code == 401
    assert len([secret for secret in tried if secret is not None]) == 1
