"""Signing a person in on a page: by the same proof, with the same delays, as everywhere else."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.oauth.flows import LASTS, Flow
from api.oauth.trail import note
from api.parts import Parts
from api.v1.access.proof import Proof, with_proof
from mcp_platform.contracts.access import User
from mcp_platform.contracts.audit import AuditOutcome
from mcp_platform.errors import RateLimited, SecondFactorNeeded, Unauthorized
from mcp_platform.security.api_keys import api_key_hash
from storage.sql.engine import WriteSession
from storage.stores import Rows

COOKIE = "mcp_platform_oauth"
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Attempt:
    """What came of an attempt to sign in."""

    user: User | None
    proof: str = ""
    """A digest that another password ends."""
    problem: str | None = None
    code_needed: bool = False


async def attempt(parts: Parts, request: Request, flow: Flow, form: dict[str, str]) -> Attempt:
    """Find out who it is; a failure is written into the audit log."""
    username = form.get("username", "")[:_LONGEST_NAME]
    proof = Proof(username, form.get("password", "")[:256], form.get("code", "")[:64] or None)

    async def seen(rows: Rows[WriteSession], user: User) -> Attempt:
        account = await rows.users.lock(user.id)
        return Attempt(user, api_key_hash(account.password_hash) if account else "")

    try:
        return await with_proof(parts, request, proof, Unauthorized, "Wrong username or password", seen)
    except SecondFactorNeeded:
        problem = "Type your password again, and the code of your second factor"
        return Attempt(None, problem=problem, code_needed=True)
    except Unauthorized as error:
        problem = str(error.detail)
    except RateLimited as error:
        problem = f"Too many attempts: wait {error.fields['retry_after']} seconds, then try again"
    await note(
        parts,
        request,
        "sign_in",
        AuditOutcome.DENIED,
        actor_name=username,
        resource=("oauth_client", flow.client_id),
        status=401,
    )
    return Attempt(None, problem=problem, code_needed=proof.code is not None)


def bind(parts: Parts, page: Response, browser: str) -> None:
    """Set the cookie that binds a flow to one browser."""
    page.set_cookie(
        COOKIE,
        browser,
        max_age=LASTS,
        path="/oauth",
        secure=parts.settings.issuer.startswith("https://"),
        httponly=True,
        # Lax: it has to come along when a remote authorization server sends the browser back.
        samesite="lax",
    )
