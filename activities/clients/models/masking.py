"""What must not reach a provider: the secrets of an account, and what looks like a credential."""

import html
import os
import re
from collections.abc import Collection, Iterable
from typing import Any, Final
from urllib.parse import unquote, unquote_plus
from uuid import UUID

from gateway.policy.redaction import SHOWN, Redactor
from mcp_platform.formats.credentials import plain_credentials
from mcp_platform.variables import Variables
from storage.secrets import KnownSecrets

SHORTEST: Final = 4
"""Characters of a secret that is looked for: a shorter one would make gaps in every word."""

_VALUE = r"(?=[^\s\"'<>,;]{0,200}?\d)[^\s\"'<>,;${}\[\]]{8,}"
"""Something with a digit in it that is no word, and no `${NAME}`."""
_QUOTE = r"(?:\\?[\"']|&(?:quot|apos|\#0{0,3}3[49]|\#x0{0,3}2[27]);)?"
_NAME = r"(?:key|token|secret|password|passwd|credentials?)"
_SUSPECT = re.compile(rf"(?i)({_NAME}{_QUOTE}\s{{0,3}}[=:]\s{{0,3}}{_QUOTE})" + _VALUE)
_OPTION = re.compile(
    # Also as two elements of a list.
    rf"(?i)((?<![\w-])--?[a-z0-9_-]{{0,40}}?{_NAME}{_QUOTE}(?:\s{{1,3}}|\s?,\s{{0,3}}){_QUOTE})" + _VALUE
)
_WORD = re.compile(r"[^\s\"'<>]+")
_WELL_KNOWN: Final = (
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),  # OpenAI, Anthropic
    re.compile(r"\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}"),  # Stripe
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"\bAIza[A-Za-z0-9_-]{30,}"),  # Google
    re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}"),  # GitLab
    re.compile(r"\bnpm_[A-Za-z0-9]{30,}"),
    re.compile(r"\bpypi-[A-Za-z0-9_-]{30,}"),
    re.compile(r"\bhf_[A-Za-z0-9]{30,}"),  # Hugging Face
)
_KEPT_BEGINNING: Final = (
    re.compile(r"(?i)\b((?:bearer|basic)\s{1,3})[A-Za-z0-9._~+/=-]{12,}"),
    re.compile(
        # In an address; the last @ ends it, for a password may have some in it, too.
        r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:\"']{0,200}:)(?!\$\{[^}\s]{0,200}\}@)[^\s/\"']{1,200}(?=@)"
    ),
    _SUSPECT,
    _OPTION,
)


class AccountMasks:
    """Gives each account's masking.

    Args:
        secrets: Opens secrets.
        exposed: Variables of the platform's environment that configurations may name.
        own: Secrets of the platform itself, such as the keys of its models.
    """

    def __init__(self, secrets: KnownSecrets, exposed: Collection[str], own: Collection[str] = ()) -> None:
        self._secrets = secrets
        self._exposed = exposed
        self._own = own

    async def of(self, owner_id: UUID) -> "AccountMasking":
        """Give what takes the account's own and the shared secrets out, as they are now."""
        values = [*await self._secrets.values(owner_id), *self._own]
        named = {str(place): value for place, value in enumerate(values)}
        variables = Variables(os.environ, self._exposed, named)
        return AccountMasking(Redactor(variables.masking(SHOWN, SHORTEST)), values)


class AccountMasking:
    """Takes secrets out of texts and JSON."""

    def __init__(self, redactor: Redactor, values: Collection[str] = ()) -> None:
        self._redactor = redactor
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._forms = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None

    def text(self, text: str) -> str:
        """Give the text without them."""
        text = self._plain(text)
        return _WORD.sub(self._unless_encoded, text) if "%" in text else text

    def _plain(self, text: str) -> str:
        text = self._redactor.text(text)
        if self._forms is not None:
            text = self._forms.sub(SHOWN, text)
        for pattern in _WELL_KNOWN:
            text = pattern.sub(SHOWN, text)
        for pattern in _KEPT_BEGINNING:
            text = pattern.sub(rf"\1{SHOWN}", text)
        return text

    def _unless_encoded(self, word: re.Match[str]) -> str:
        """Mask a word as a whole if a secret stands in it percent-encoded, in whichever way."""
        if "%" not in word[0]:
            return word[0]
        decoded: Iterable[str] = {unquote(word[0]), unquote_plus(word[0])} - {word[0]}
        return SHOWN if any(self._plain(each) != each for each in decoded) else word[0]

    def value(self, value: Any) -> Any:
        """Give a JSON value without them, names included, and without what its place makes suspect."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(item) for name, item in _without_plain(value).items()}
        return value


def _forms(value: str) -> set[str]:
    """Give a secret as HTML and hexadecimal digits have it; masks know of the other forms."""
    if len(value.strip()) < SHORTEST:
        return set()
    forms = {value.encode().hex(), value.strip().encode().hex()}
    for form in {value, value.strip()}:
        escaped = html.escape(form)
        forms |= {escaped, html.escape(form, quote=False)}
        for double, single in (("&#34;", "&#39;"), ("&quot;", "&#39;"), ("&quot;", "&apos;")):
            forms.add(escaped.replace("&quot;", double).replace("&#x27;", single))
    return forms - {value, value.strip()}


def _without_plain(entry: dict[str, Any]) -> dict[str, Any]:
    """Mask values of `env` and `headers` whose names say that they are credentials."""
    fields = {
        field: {name: item for name, item in entry[field].items() if isinstance(item, str)}
        for field in ("env", "headers")
        if isinstance(entry.get(field), dict)
    }
    masked = dict(entry)
    for found in plain_credentials(fields):
        masked[found.field] = masked[found.field] | {found.name: SHOWN}
    return masked
