"""Apps: proving themselves, and the tokens of their installations."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import jwt

from tests.github.double.calls import Answer, Call, Endpoint, Refusal, anywhere, not_found

_LONGEST = 600
"""GitHub takes no proof that holds for longer, in seconds."""


def proven(keys: Mapping[str, str], token: str) -> str:
    """Give the id of the App that signed this, with RS256."""
    try:
        claimed = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
        options: jwt.types.Options = {"require": ["exp", "iat", "iss"]}
        claims = jwt.decode(token, keys.get(claimed, ""), algorithms=["RS256"], options=options)
    except (jwt.PyJWTError, ValueError):
        raise Refusal(401, "A JSON web token could not be decoded") from None
    if claims["exp"] - datetime.now(UTC).timestamp() > _LONGEST:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    return claimed


def suspended() -> Refusal:
    """Say that an installation may nothing."""
    return Refusal(403, "This installation has been suspended")


async def _token(call: Call) -> Answer:
    number = int(call.words["number"])
    if number not in call.double.installations:
        raise not_found()
    if number in call.double.suspended:
        raise suspended()
    token = call.double.token(f"installation-{number}", installation=number)
    expires = datetime.now(UTC) + timedelta(hours=1)
    call.double.accounts[token].expires_at = expires
    return Answer(
        {
            "token": token,
            "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "permissions": {"contents": "write", "metadata": "read", "pull_requests": "write"},
            "repository_selection": "selected",
        },
        201,
    )


ENDPOINTS: list[Endpoint] = [
    *anywhere("POST", "/app/installations/{number}/access_tokens", app=True)(_token),
]
