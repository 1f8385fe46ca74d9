"""Security schemes: which header, parameter or cookie carries a credential, and which secret it is."""

import re
from dataclasses import dataclass, field
from typing import Any

from mcp_platform.formats.openapi.document import References, Unresolved
from mcp_platform.templates import escape

_NOT_IN_NAME = re.compile(r"[^A-Z0-9]+")


@dataclass
class Credentials:
    """What a request carries to be let in."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """What each secret must be, by its name."""


class Security:
    """The schemes of one document.

    Args:
        document: The document.
        references: Its references.
        prefix: What the names of secrets begin with.
    """

    def __init__(self, document: dict[str, Any], references: References, prefix: str) -> None:
        components = document.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        self._schemes: dict[str, Any] = schemes if isinstance(schemes, dict) else {}
        self._standard = document.get("security")
        self._references = references
        self._prefix = prefix

    def of(self, operation: dict[str, Any]) -> Credentials:
        """Give what an operation needs: the first of its alternatives that can be met.

        Raises:
            Unresolved: None can be met.
        """
        alternatives = operation.get("security", self._standard)
        if not isinstance(alternatives, list) or not alternatives:
            return Credentials()
        reasons = []
        for alternative in alternatives:
            try:
                return self._meet(alternative if isinstance(alternative, dict) else {})
            except Unresolved as reason:
                reasons.append(str(reason))
        raise Unresolved("; ".join(reasons))

    def _meet(self, alternative: dict[str, Any]) -> Credentials:
        found = Credentials()
        for name in alternative:
            if name not in self._schemes:
                raise Unresolved(f"it needs the security scheme {name}, which the document does not describe")
            self._add(name, self._references.resolve(self._schemes[name]), found)
        return found

    def _add(self, name: str, scheme: dict[str, Any], found: Credentials) -> None:
        kind, way = scheme.get("type"), str(scheme.get("scheme", "")).lower()
        secret = _NOT_IN_NAME.sub("_", f"{self._prefix}_{name}".upper()).strip("_")
        if not secret[:1].isalpha() or secret.startswith("MCP_PLATFORM_"):
            secret = f"API_{secret}"
        reference = f"${{{secret}}}"
        if kind == "apiKey":
            where, key = scheme.get("in"), str(scheme.get("name", ""))
            if where == "header":
                found.headers[key] = reference
            elif where == "query":
                found.query[key] = reference
            else:
                cookies = [*filter(None, [found.headers.get("Cookie")]), f"{escape(key)}={reference}"]
                found.headers["Cookie"] = "; ".join(cookies)
            found.secrets[secret] = f"the API key {key} ({where})"
        elif kind == "http" and way == "basic":
            found.headers["Authorization"] = f"Basic {reference}"
            found.secrets[secret] = "user:password in base64"
        elif kind in ("oauth2", "openIdConnect") or (kind == "http" and way == "bearer"):
            found.headers["Authorization"] = f"Bearer {reference}"
            found.secrets[secret] = "an access token" if kind != "http" else "the bearer token"
        else:
            known = f"{kind} {way}".strip()
            raise Unresolved(f"its security scheme {name} ({known}) is not supported")
