"""Nothing secret is sent."""

import base64
import html
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID, uuid4

import pytest

from activities.clients.models.masking import AccountMasking
from gateway.policy.redaction import SHOWN, Redactor
from mcp_platform.contracts.secrets import SHARED, Secret
from mcp_platform.variables import Mask
from tests.models.asking import CLEAR, Rig
from tests.models.provider import KEY, Provider, answering

OWN = 'Tr0ub4dor&3 "quoted"\\ with ümlaut'
TEAM = "shared-value-9z8y7x"
STRANGER = "strangers-own-value-123"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"

PLAIN = AccountMasking(Redactor(Mask()))
"""Knows no secret: finds only what looks like one."""


async def store(rig: Rig, holder: str, name: str, value: str) -> None:
    """Store a secret."""
    now = datetime.now(UTC)
    secret = Secret(id=uuid4(), holder=holder, name=name, created_at=now, updated_at=now)
    async with rig.stores.write() as rows:
        assert await rows.secrets.add(secret, rig.sealer.seal(value.encode(), secret.purpose))


@pytest.fixture
async def owner(rig: Rig) -> UUID:
    """Give an account with secrets of its own, beside shared ones and a stranger's."""
    owner_id = uuid4()
    for holder, name, value in (
        (owner_id.hex, "PASSWORD", OWN),
        (owner_id.hex, "PIN", "7391"),
        (SHARED, "PASSWORD", TEAM),
        (owner_id.hex, "PEM", PEM),
        (uuid4().hex, "PASSWORD", STRANGER),
    ):
        await store(rig, holder, name, value)
    return owner_id


def written(value: str) -> dict[str, Any]:
    """Write a secret in every way in which it may stand in a text."""
    return {
        "plain": f"the password is {value}.",
        "nested": {"deep": [{"er": f"x{value}y"}], f"key {value}": 1},
        "json": json.dumps({"password": value}),
        "escaped": json.dumps({"password": value}, ensure_ascii=False),
        "url": f"https://example.com/?q={quote(value, safe='')}",
        "base64": base64.b64encode(value.encode()).decode(),
        "basic": "Basic " + base64.b64encode(f"user:{value}".encode()).decode(),
        "html": f'<a title="{html.escape(value)}">{html.escape(value, quote=False)}</a>',
        "hexadecimal": value.encode().hex(),
        "upper": value.encode().hex().upper(),
        "form": f"q={quote_plus(value)}",
        "path": "/x/" + re.sub("%..", lambda each: each[0].lower(), quote(value)) + "/y",
        "every": "".join(f"%{each:02x}" for each in value.encode()),
        "hidden_in_json": {"er": value.replace('"', '\u200b"\u200d').replace("-", "\u200c-\ufe0f")},
        "hidden": value[:3] + "\u200b" + value[3:5] + "\U000e0041" + value[5:],
        "cut": "x" * 5000 + value,
    }


async def test_no_form_of_a_secret_reaches_the_provider(rig: Rig, provider: Provider, owner: UUID) -> None:
    secrets = {"own": OWN, "shared": TEAM, "pem": PEM, "api_key": KEY}
    async with rig.worker(provider.settings()):
        for value in secrets.values():
            assert (await rig.ask(written(value), owner)).answer == CLEAR
        assert (await rig.ask({"place": "PIN 7391, 12345678901234"}, owner)).answer == CLEAR
    sent = json.dumps([asked.body for asked in provider.requests], ensure_ascii=False)
    sent += json.dumps([asked.body for asked in provider.requests])
    for value in secrets.values():
        for form in (value, json.dumps(value)[1:-1], quote(value, safe=""), _encoded(value)):
            assert form not in sent
        for form in (html.escape(value), quote(value), quote_plus(value), value.encode().hex()):
            assert form.lower() not in sent.lower()
    for hidden in ("%54%72%30", "\u200c", "\u200d", "\ufe0f", "\U000e0141"):
        assert hidden not in sent
    assert "Tr0ub4dor" not in sent
    assert "MIIEvQ" not in sent
    assert "7391" not in sent
    assert "12345678901234" in sent, "what is no secret stays"
    assert provider.requests[0].key == f"Bearer {KEY}"


async def test_a_secret_that_a_model_invents_is_not_sent_back_either(
    rig: Rig, provider: Provider, owner: UUID
) -> None:
    provider.next(answering({"sky": f"{OWN} {TEAM}", "sure": 1}))
    async with rig.worker(provider.settings()):
        outcome = await rig.ask(owner_id=owner)
    assert outcome.repairs == 1
    again = provider.requests[1].user
    assert SHOWN in again
    assert TEAM not in again
    assert "Tr0ub4dor" not in again


@pytest.mark.parametrize(
    "text",
    [
        "ghp_0123456789012345678901234567890123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-proj-abcdefghijklmnop1234567890",
        "xoxb-123456789012-abcdefghijkl",
        "glpat-abcdefghij0123456789",
        "npm_abcdefghij0123456789abcdefghij012345",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU",
        PEM,
        "Authorization: Bearer 0a1b2c3d4e5f6a7b8c9d",
        "postgres://admin:hunter2secret@db.example.com/app",
        "API_KEY=9f8e7d6c5b4a3f2e",
        '{"weather_token": "9f8e7d6c5b4a3f2e"}',
        'config = "{\\"apiKey\\": \\"9f8e7d6c5b4a3f2e\\"}"',
        "password: correct7horse8battery",
        "uvx weather --api-key 9f8e7d6c5b4a3f2e",
        '{"args": ["--weather-token", "9f8e7d6c5b4a3f2e"]}',
        "{&quot;token&quot;: &quot;9f8e7d6c5b4a3f2e&quot;}",
        "?next=token%3D9f8e7d6c5b4a3f2e",
        "postgres://admin:hunter@2secret@db.example.com/app",
        "postgres://me@corp:hunter$2secret@db.example.com/app",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    masked = PLAIN.text(f"before {text} after")
    assert SHOWN in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for tail in (
        "9f8e7d6c",
        "hunter",
        "2secret",
        "0a1b2c3d",
        "correct7",
        "abcdefghij",
        "IOSFODNN",
        "MIIEvQ",
        "c2lnbm",
    ):
        assert tail not in masked


def test_credentials_of_a_configuration_are_masked_by_the_name_of_their_place() -> None:
    server = {
        "name": "weather",
        "env": {"API_KEY": "short", "REGION": "eu", "TOKEN": "${WEATHER_TOKEN}"},
        "headers": {"Authorization": "abc"},
        "args": ["--port", "80"],
    }
    masked = PLAIN.value({"servers": [server]})["servers"][0]
    assert masked == server | {
        "env": {"API_KEY": SHOWN, "REGION": "eu", "TOKEN": "${WEATHER_TOKEN}"},
        "headers": {"Authorization": SHOWN},
    }


@pytest.mark.parametrize(
    "text",
    [
        "Needs an API key: get one at https://example.com/keys",
        "The token is refreshed every 15 minutes",
        "password: ${DB_PASSWORD}",
        "postgres://${DB_USER}:${DB_PASSWORD}@db.example.com/app",
        "--api-key YOUR_API_KEY --token ${WEATHER_TOKEN} --key-id 7",
        "https://example.com/a%20b?q=50%25&r=%E5%A4%A9",
        "100% of 50%",
        "monkey: banana",
        "secret: required",
        "uvx mcp-server-time==2026.10.1 --local-timezone=Europe/Oslo",
        "天气查询工具\uff0c支持未来7天预报",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert PLAIN.text(text) == text


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    for unit in ("key:", "a.", "a:", "key=a", "bearer ", "http://", "-----BEGIN ", "%41", "%", "-", "--key "):
        PLAIN.text(unit * (200_000 // len(unit)))


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
