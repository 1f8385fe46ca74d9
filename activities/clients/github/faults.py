"""Telling GitHub's failures apart.

The rules are those of "Rate limits for the REST API" and "Troubleshooting the REST API" in GitHub's
documentation: 401 is a credential that does not hold; 403 and 429 are rate limits where a header or the
message says so, else missing rights; 404 stands for missing rights too, so that nobody learns what exists.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from mcp_platform.contracts.repositories import FaultKind, GitHubFault

_SHOWN: Final = 300
_SECONDARY_WAIT: Final = timedelta(minutes=1)
"""How long GitHub asks to wait at a secondary limit that does not say how long."""
_LONGEST_WAIT: Final = timedelta(hours=2)
"""No limit of GitHub's lasts longer than an hour; a header that says more is wrong."""


def fault_of(status: int, headers: Mapping[str, str], message: str, subject: str | None) -> GitHubFault:
    """Tell what an answer of GitHub's means.

    Args:
        status: Its HTTP status.
        headers: Its headers, by names in lower case.
        message: What its body says.
        subject: What a 404 says is not there; None where it is the repository.
    """
    said = plain(message)
    if status == 401:
        return GitHubFault(
            FaultKind.TOKEN_EXPIRED,
            "GitHub does not accept the credential: it has expired, was revoked or is of another GitHub",
        )
    if status in {403, 429} and (reset_at := _reset(status, headers, message)) is not None:
        when = reset_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return GitHubFault(FaultKind.RATE_LIMITED, f"GitHub's rate limit is used up until {when}", reset_at)
    if status in {403, 451}:
        return GitHubFault(FaultKind.NO_ACCESS, f"GitHub does not allow it: {said}{_sign_on(headers)}")
    if status in {404, 410}:
        return _missing(subject)
    if status in {400, 405, 409, 422}:
        return GitHubFault(FaultKind.REFUSED, f"GitHub refuses it: {said}")
    return GitHubFault(FaultKind.UNAVAILABLE, f"GitHub answers with status {status}: {said}")


def plain(text: str) -> str:
    """Give the beginning of foreign text on one line, without anything that a terminal might obey."""
    line = " ".join(text.split())[:_SHOWN]
    return "".join(each if each.isprintable() else "?" for each in line) or "no reason given"


def _missing(subject: str | None) -> GitHubFault:
    if subject is None:
        return GitHubFault(
            FaultKind.NO_SUCH_REPOSITORY,
            "GitHub has no such repository, or the credential may not see it: check the address, and that"
            " the token has access to this repository",
        )
    return GitHubFault(FaultKind.NOT_FOUND, f"GitHub has no {subject}")


def _reset(status: int, headers: Mapping[str, str], message: str) -> datetime | None:
    """Give when a rate limit ends; None where the answer is about none."""
    now = datetime.now(UTC)
    if (wait := _number(headers.get("retry-after"))) is not None:
        return now + min(timedelta(seconds=wait), _LONGEST_WAIT)
    if headers.get("x-ratelimit-remaining") == "0":
        reset = _number(headers.get("x-ratelimit-reset"))
        seconds = reset - now.timestamp() if reset is not None else _SECONDARY_WAIT.total_seconds()
        return now + min(timedelta(seconds=max(seconds, 1.0)), _LONGEST_WAIT)
    if status == 429 or "rate limit" in message.lower() or "abuse detection" in message.lower():
        return now + _SECONDARY_WAIT
    return None


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found < 1e11 else None


def _sign_on(headers: Mapping[str, str]) -> str:
    if "x-github-sso" not in headers:
        return ""
    return " (the organisation asks for single sign-on: authorise the token for it at GitHub)"
