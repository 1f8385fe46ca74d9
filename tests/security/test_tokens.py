"""Access and refresh tokens: only ours, only in their time, only for their purpose."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from jose import jwt

from mcp_platform.contracts.access import Role, User
from mcp_platform.errors import Unauthorized
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.tokens import Tokens

KEY = MasterKey(bytes(32))
TOKENS = Tokens(KEY, access_ttl=900, refresh_ttl=3600)
USER = User(
    id=uuid4(),
    username="somebody",
    email="somebody@example.com",
    role=Role.DEVELOPER,
    is_active=True,
    created_at=datetime.now(UTC),
)


IN_A_DAY = int((datetime.now(UTC) + timedelta(days=1)).timestamp())


def claims(**changes: Any) -> dict[str, Any]:
    """Give what an access token of ours says, with changes; None leaves a claim out."""
    token = TOKENS.issue_access(USER, uuid4())
    # Those that are made when the tests are collected are used much later, and must not have ended by then.
    found = jwt.get_unverified_claims(token) | {"exp": IN_A_DAY} | changes
    return {name: value for name, value in found.items() if value is not None}


def signed(said: dict[str, Any], key: MasterKey = KEY, algorithm: str = "HS256") -> str:
    """Sign claims as we do."""
    return jwt.encode(said, key.derive("jwt"), algorithm=algorithm)


def part(content: dict[str, Any]) -> str:
    """Encode one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def test_an_access_token_says_whose_it_is_of_which_session_and_until_when() -> None:
    family_id = uuid4()
    said = TOKENS.read_access(TOKENS.issue_access(USER, family_id))
    assert (said.user_id, said.family_id) == (USER.id, family_id)
    left = said.expires_at - datetime.now(UTC)
    assert timedelta(seconds=890) < left <= timedelta(seconds=900)


def test_a_refresh_token_says_which_it_is_and_of_which_family() -> None:
    token, issued = TOKENS.issue_refresh(USER.id)
    assert TOKENS.read_refresh(token) == issued
    _, next_one = TOKENS.issue_refresh(USER.id, issued.family_id)
    assert next_one.family_id == issued.family_id
    assert next_one.token_id != issued.token_id


def flipped(token: str) -> str:
    """Give the same token with one bit of its payload changed."""
    head, payload, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{head}.{part(said | {'roles': ['admin']})}.{signature}"


LONG_AGO = int((datetime.now(UTC) - timedelta(hours=2)).timestamp())

WRONG = {
    "empty": "",
    "text": "not.a.token",
    "expired": signed(claims(iat=LONG_AGO, exp=LONG_AGO + 900)),
    "tampered": flipped(signed(claims())),
    "other-key": signed(claims(), MasterKey(bytes([1] * 32))),
    "other-algorithm": signed(claims(), algorithm="HS512"),
    "unsigned": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}.",
    "unsigned-with-our-signature": (
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}.{signed(claims()).rpartition('.')[2]}"
    ),
    "cut-signature": signed(claims()).rpartition(".")[0] + ".",
    "refresh-token": TOKENS.issue_refresh(USER.id)[0],
    "no-session": signed(claims(sid=None)),
    "no-user": signed(claims(sub=None)),
    "no-kind": signed(claims(typ=None)),
    "odd-user": signed(claims(sub="somebody")),
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
def test_a_token_that_is_not_ours_as_it_stands_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized, match="Invalid or expired token"):
        TOKENS.read_access(token)


def test_a_token_without_an_end_is_refused() -> None:
    with pytest.raises(Unauthorized):
        TOKENS.read_access(signed(claims(exp=None)))


def test_an_access_token_is_no_refresh_token() -> None:
    with pytest.raises(Unauthorized):
        TOKENS.read_refresh(TOKENS.issue_access(USER, uuid4()))


@pytest.mark.parametrize("missing", ["jti", "sid", "sub", "exp"])
def test_a_refresh_token_that_lacks_a_claim_is_refused(missing: str) -> None:
    token, _ = TOKENS.issue_refresh(USER.id)
    said = jwt.get_unverified_claims(token)
    del said[missing]
    with pytest.raises(Unauthorized):
        TOKENS.read_refresh(signed(said))


def test_during_a_rotation_tokens_of_the_key_before_are_good_and_new_ones_are_of_the_new_key() -> None:
    new = MasterKey(bytes(range(32)))
    rotating, after = Tokens(new, 900, 3600, KEY), Tokens(new, 900, 3600)
    old, family_id = TOKENS.issue_access(USER, uuid4()), uuid4()
    assert rotating.read_access(old).user_id == USER.id
    with pytest.raises(Unauthorized):
        after.read_access(old)
    assert after.read_access(rotating.issue_access(USER, family_id)).family_id == family_id
    with pytest.raises(Unauthorized):
        rotating.read_refresh(old)
