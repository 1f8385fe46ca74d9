"""`${NAME}` in a configuration: what it stands for, resolved only where a replica is started or called."""

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESS_SAFE = str.maketrans("+/", "-_")
_UNSENDABLE = re.compile(r"[\0\r\n]")
_MASKED = "***"
_SHORTEST_REST = 8
"""Characters of a part of a secret by which it is known again: a line of it, or its cut off beginning."""
_SHORTEST_CORE = 4
"""Characters of a secret within base64 by which it is known again."""
_SHORTEST_VARIABLE = 4
"""Characters of an environment variable that is masked: a `1` or an `eu` is no secret."""
_PLAIN_VARIABLES = frozenset({"HOME", "LANG", "TZ"})
"""Environment variables that texts may show."""


class Unresolvable(LookupError):
    """A reference in a configuration has no value; the message names it and says what to do."""


class UnreadableSecret(Unresolvable):
    """A secret was sealed under a master key that is not known here."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"${{{name}}}: the secret cannot be opened ({reason}); store it anew")


class UnknownVariable(Unresolvable):
    """A configuration names a variable that is not set, or that it may not see."""

    def __init__(self, name: str, with_shared: bool) -> None:
        # The same whether there is such a shared secret or not: who may not use it does not learn of it.
        lacking = "" if with_shared else "; shared ones need secrets:use, which the author's role lacks"
        super().__init__(
            f"${{{name}}} is not known: the MCP's author can store it as a secret"
            f" (PUT /api/v1/secrets/{name}{lacking}); or set {name} in the platform's environment"
            " and list it in MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT"
        )
        self.name = name


class Unsendable(Unresolvable):
    """What a header is made of has a line end in it."""

    def __init__(self, header: str) -> None:
        super().__init__(
            f"the header {header} cannot be sent: what it refers to has a line end in it;"
            " store the secret without"
        )


class Mask:
    """Takes secret values out of texts, in each form in which a program is likely to print them.

    Args:
        values: What must not be seen.
        shown: What stands in its place.
    """

    def __init__(self, values: Iterable[str] = (), shown: str = _MASKED) -> None:
        self._shown = shown
        forms = {form for value in values for form in _forms(value)}
        # The longest first: one secret may be a part of another.
        self._forms = sorted((form for form in forms if form.strip()), key=len, reverse=True)

    def text(self, text: str) -> str:
        """Give the text without them."""
        for form in self._forms:
            text = text.replace(form, self._shown)
        return self._without_rest(text)

    def lines(self, lines: Iterable[str]) -> list[str]:
        """Give the lines without them."""
        return [self.text(line) for line in lines]

    def _without_rest(self, text: str) -> str:
        """Take away the beginning of a secret at the end of a text: long lines are cut off anywhere."""
        for form in self._forms:
            place = text.find(form[:_SHORTEST_REST]) if len(form) > _SHORTEST_REST else -1
            while place >= 0:
                if form.startswith(text[place:]):
                    return text[:place] + self._shown
                place = text.find(form[:_SHORTEST_REST], place + 1)
        return text


class Variables:
    """What configurations may see: secrets, and the environment as far as it is exposed.

    Args:
        environment: The platform's own environment.
        exposed: Names that may be seen. Everything else, the platform's own secrets among it, stays hidden.
        secrets: Secrets by name; they win over the environment.
        with_shared: Whether shared secrets were looked for; what is said of an unknown name tells.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        exposed: Collection[str],
        secrets: Mapping[str, str] | None = None,
        with_shared: bool = True,
    ) -> None:
        self._environment = environment
        self._exposed = frozenset(name for name in exposed if not name.startswith("MCP_PLATFORM_"))
        self._secrets = secrets or {}
        self._with_shared = with_shared

    def with_secrets(self, secrets: Mapping[str, str], *, with_shared: bool = True) -> "Variables":
        """Give the same environment with these secrets."""
        return Variables(self._environment, self._exposed, secrets, with_shared)

    @property
    def mask(self) -> Mask:
        """Give what takes the secrets, and the environment's values that may be some, out of a text."""
        return Mask([*self._secrets.values(), *self._shown_values()])

    def masking(self, shown: str, shortest: int) -> Mask:
        """Give the same for results, which must stay readable: values that are shorter stay in them."""
        values = [*self._secrets.values(), *self._shown_values()]
        return Mask([value for value in values if len(value) >= shortest], shown)

    def _shown_values(self) -> list[str]:
        exposed = [self._environment.get(name, "") for name in self._exposed - _PLAIN_VARIABLES]
        return [each for each in exposed if len(each) >= _SHORTEST_VARIABLE]

    def resolve(self, text: str) -> str:
        """Replace each `${NAME}` in the text.

        Raises:
            UnknownVariable: A name is no secret, and not set or not exposed.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in self._secrets:
                return self._secrets[name]
            if name not in self._exposed or name not in self._environment:
                raise UnknownVariable(name, self._with_shared)
            return self._environment[name]

        return _REFERENCE.sub(value, text)

    def resolve_all(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Do the same for every value of a mapping."""
        return {name: self.resolve(text) for name, text in texts.items()}

    def resolve_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Do the same for the headers of a request.

        Raises:
            UnknownVariable: As for `resolve`.
            Unsendable: A value has a line end in it.
        """
        resolved = self.resolve_all(headers)
        for name, value in resolved.items():
            if _UNSENDABLE.search(value):
                raise Unsendable(name)
        return resolved


def references(value: Any) -> set[str]:
    """Collect the names that a configuration, or a part of one, refers to."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                found.update(_REFERENCE.findall(text))
            case dict() as items:
                waiting.extend(items.values())
            case list() as items:
                waiting.extend(items)
    return found


def _forms(value: str) -> set[str]:
    lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_REST]
    whole = {value, value.strip(), *lines}
    written = {json.dumps(form)[1:-1] for form in whole} | {repr(form)[1:-1] for form in whole}
    encoded = {quote(value, safe=""), base64.b64encode(value.encode()).decode()}
    return whole | written | encoded | _cores(value) | _cores(value.strip())


def _cores(value: str) -> set[str]:
    """Give what base64 makes of a value inside a longer text, such as `user:` and the value.

    It depends on how many bytes stand before, modulo three; characters that the neighbours have a
    part in are left out.
    """
    found: set[str] = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value.encode()).decode()
        core = encoded[-(-before * 8 // 6) : (before + len(value.encode())) * 8 // 6]
        if len(core) >= _SHORTEST_CORE:
            found |= {core, core.translate(_ADDRESS_SAFE)}
    return found
