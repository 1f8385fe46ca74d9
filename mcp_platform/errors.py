"""Every error that a caller may see.

PlatformError
├── InvalidRequest       400
├── Unauthorized         401
│   └── SecondFactorNeeded
├── BudgetExhausted      402
├── Forbidden            403
├── RepositoryForbidden  403
├── AuthorizationNeeded  403
├── ProofFailed          403
├── ForbiddenOrigin      403
├── NotFound             404
├── RepositoryNotFound   404
├── MethodNotAllowed     405
├── Conflict             409
├── ToolQuarantined      409
├── PayloadTooLarge      413
├── ValidationFailed     422
├── ToolFailed           422
├── TokenRefused         422
├── RateLimited          429
│   └── GitHubRateLimited
├── UpstreamFailed       502
├── Unavailable          503
│   └── GitHubUnavailable
└── UpstreamTimedOut     504

One handler in each surface renders them; routes raise and never catch to raise again.
"""

from collections.abc import Sequence
from typing import Any, ClassVar


class PlatformError(Exception):
    """An error with a code and an HTTP status of its own.

    Args:
        detail: What is wrong and what would be right, for a person.
        fields: Further fields of the answer, such as `resource_id`.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, **fields: Any) -> None:
        super().__init__(detail)
        self.detail: Any = detail
        self.fields = fields

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer."""
        return {}


class InvalidRequest(PlatformError):
    """The request cannot be understood at all, for example because it is not JSON."""

    code = "INVALID_REQUEST"
    status = 400


class Unauthorized(PlatformError):
    """No credential, or one that does not hold."""

    code = "UNAUTHORIZED"
    status = 401

    def __init__(self, detail: str = "Invalid or expired token") -> None:
        super().__init__(detail)

    @property
    def headers(self) -> dict[str, str]:
        """Names the scheme, as RFC 9110 section 11.6.1 demands of a 401."""
        return {"WWW-Authenticate": "Bearer"}


class SecondFactorNeeded(Unauthorized):
    """The password is right, and the account has a second factor: `code` is missing."""

    code = "MFA_REQUIRED"

    def __init__(self) -> None:
        super().__init__("This account has a second factor: send its six digits, or a recovery code, as code")


class BudgetExhausted(PlatformError):
    """What language models may cost the caller today is used up.

    Args:
        budget: How much that is.
        renewed_at: When the next day's budget begins, as ISO 8601.
    """

    code = "BUDGET_EXHAUSTED"
    status = 402

    def __init__(self, budget: str, renewed_at: str) -> None:
        super().__init__(
            f"Your budget for language models, {budget} a day, is used up. It is renewed at {renewed_at};"
            ' until then, "engine": "rules" does without a model',
            renewed_at=renewed_at,
        )


class Forbidden(PlatformError):
    """The caller is known and may not."""

    code = "FORBIDDEN"
    status = 403

    def __init__(
        self, required_permission: str, detail: str = "Insufficient permissions to perform this action"
    ) -> None:
        super().__init__(detail, required_permission=required_permission)


class AuthorizationNeeded(PlatformError):
    """A remote server wants an authorization that the caller has not given the platform."""

    code = "AUTHORIZATION_NEEDED"
    status = 403

    def __init__(self, mcp_id: object, slug: object, server: object) -> None:
        super().__init__(
            f"The server behind {slug!r} needs your authorization:"
            f" POST /api/v1/mcps/{mcp_id}/authorizations, and open the address that it answers with",
            mcp_id=str(mcp_id),
            slug=slug,
            server=server,
        )


class ProofFailed(PlatformError):
    """The caller is signed in, and did not prove once more that it is them."""

    code = "PROOF_FAILED"
    status = 403


class ForbiddenOrigin(PlatformError):
    """A browser page of another site is calling."""

    code = "FORBIDDEN"
    status = 403

    def __init__(self, origin: str) -> None:
        super().__init__("Pages of this origin may not call the platform", origin=origin)


class NotFound(PlatformError):
    """No such resource, or none that this caller may know of."""

    code = "NOT_FOUND"
    status = 404

    def __init__(self, resource_type: str, resource_id: object, detail: str | None = None) -> None:
        label = resource_type.replace("_", " ").replace("mcp", "MCP").replace("api", "API")
        super().__init__(
            detail or f"{label[:1].upper()}{label[1:]} not found",
            resource_type=resource_type,
            resource_id=str(resource_id),
        )


class MethodNotAllowed(PlatformError):
    """The path exists, and takes other methods."""

    code = "METHOD_NOT_ALLOWED"
    status = 405

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"This path takes {', '.join(allowed)}")
        self._allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """What it takes, as RFC 9110 section 15.5.6 demands of a 405."""
        return {"Allow": ", ".join(self._allowed)}


class Conflict(PlatformError):
    """The request clashes with the present state; the fields say with what."""

    code = "CONFLICT"
    status = 409


class ToolQuarantined(PlatformError):
    """The tool is not as it was pinned, and nobody has decided about that yet.

    Args:
        returning: Somebody has, and not all replicas offer what was accepted.
    """

    code = "TOOL_QUARANTINED"
    status = 409

    def __init__(self, tool: str, *, returning: bool = False) -> None:
        changed = (
            f"The definition of the tool {tool!r} has changed since it was pinned;"
            " it is quarantined until somebody with tools:approve accepts the change"
        )
        late = (
            f"A replica still offers the tool {tool!r} as it was pinned before;"
            " it is back once all replicas offer the definition that was accepted"
        )
        super().__init__(late if returning else changed, resource_type="tool", resource_id=tool)


class PayloadTooLarge(PlatformError):
    """The body is over the limit."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than the limit of {limit} bytes", limit_bytes=limit)


class ValidationFailed(PlatformError):
    """Fields of the request are wrong; `detail` is a list of `{loc, msg, type}`."""

    code = "VALIDATION_ERROR"
    status = 422

    def __init__(self, problems: Sequence[dict[str, Any]]) -> None:
        super().__init__("; ".join(str(problem["msg"]) for problem in problems))
        self.detail = list(problems)

    @classmethod
    def at(cls, loc: Sequence[str | int], msg: str, kind: str = "value_error") -> "ValidationFailed":
        """One problem, at one place of the request, such as `("body", "config", "replicas")`."""
        return cls([{"loc": list(loc), "msg": msg, "type": kind}])


class ToolFailed(PlatformError):
    """The tool ran and reported an error; the detail is the tool's own text."""

    code = "TOOL_ERROR"
    status = 422


class RateLimited(PlatformError):
    """Too many requests; `retry_after` is in seconds."""

    code = "RATE_LIMIT_EXCEEDED"
    status = 429

    def __init__(
        self, retry_after: int, detail: str = "Rate limit exceeded. Please try again later."
    ) -> None:
        super().__init__(detail, retry_after=retry_after)

    @property
    def headers(self) -> dict[str, str]:
        """When to come back."""
        return {"Retry-After": str(self.fields["retry_after"])}


class UpstreamFailed(PlatformError):
    """An MCP server behind the gateway broke its protocol or its connection."""

    code = "UPSTREAM_ERROR"
    status = 502


class Unavailable(PlatformError):
    """A part that this request needs is away for now; `part` names it.

    Args:
        detail: What is away.
        part: The part's name in `/health`, or the slug without a healthy replica.
        retry_after: Seconds after which to try again.
    """

    code = "SERVICE_UNAVAILABLE"
    status = 503

    def __init__(self, detail: str, part: str, retry_after: int = 2) -> None:
        super().__init__(detail, part=part, retry_after=retry_after)

    @property
    def headers(self) -> dict[str, str]:
        """When to come back."""
        return {"Retry-After": str(self.fields["retry_after"])}


class UpstreamTimedOut(PlatformError):
    """An MCP server behind the gateway did not answer within the deadline."""

    code = "UPSTREAM_TIMEOUT"
    status = 504


class RepositoryNotFound(PlatformError):
    """GitHub has no such repository, or the credential may not know of it: GitHub does not say which."""

    code = "GITHUB_REPOSITORY_NOT_FOUND"
    status = 404


class RepositoryForbidden(PlatformError):
    """GitHub knows the credential, and does not allow what is asked."""

    code = "GITHUB_ACCESS_DENIED"
    status = 403


class TokenRefused(PlatformError):
    """GitHub does not accept the credential: expired, revoked, or none of this GitHub."""

    code = "GITHUB_TOKEN_REFUSED"
    status = 422


class GitHubRateLimited(RateLimited):
    """GitHub's rate limit for the credential is used up; `reset_at` says until when."""

    code = "GITHUB_RATE_LIMITED"

    def __init__(self, retry_after: int, detail: str, reset_at: str) -> None:
        super().__init__(retry_after, detail)
        self.fields["reset_at"] = reset_at


class GitHubUnavailable(Unavailable):
    """GitHub does not answer, or not like GitHub."""

    code = "GITHUB_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, part="github", retry_after=30)
