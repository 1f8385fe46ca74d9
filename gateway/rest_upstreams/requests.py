"""The request that a call becomes; arguments fill places in it and can change nothing else."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import orjson

from mcp_platform.contracts.mcps import ToolConfig
from mcp_platform.contracts.rest import QueryParameter, Style, ToolRequest
from mcp_platform.templates import Template
from mcp_platform.variables import Variables

_PATH_SAFE: Final = "/%:@!$&'()*+,;=-._~"
"""What RFC 3986 lets stand in a path, and what is encoded already."""
_NAME_SAFE: Final = "[]$.-_~"
_STEPS = re.compile(r"[/\\;]")
"""Where one or another server takes a path apart: some decode first, some know `\\` and parameters."""
_SEPARATORS: Final = {Style.COMMA: ",", Style.SPACE: "%20", Style.PIPE: "%7C"}
_SPLITTING = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_IDEMPOTENT: Final = frozenset({"GET", "OPTIONS", "PUT", "DELETE"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class BadArguments(Exception):
    """The arguments do not make a request; the message says why."""


class _Absent:
    """Stands for an argument that a call does not have."""


_ABSENT: Final = _Absent()


@dataclass(frozen=True)
class Outgoing:
    """A request as it is sent; there may be secrets in it."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class Request:
    """A tool's request, prepared once: its secrets are put in, its places are found.

    Raises:
        Unresolvable: It refers to what is no secret and not exposed.
    """

    def __init__(self, tool: ToolConfig, base: str, headers: Mapping[str, str], variables: Variables) -> None:
        request = tool.request or ToolRequest()
        parts = urlsplit(base)
        self._base = parts._replace(path=parts.path.rstrip("/") if request.path else parts.path, fragment="")

        def parse(text: str) -> Template:
            return Template.parse(text, variables.resolve)

        self.method = request.method
        self.safe = request.method in _IDEMPOTENT
        self._path = Template.parse(request.path, lambda words: quote(words, safe=_PATH_SAFE))
        self._query = [
            (name, parse(each.value), each.style)
            for name, each in ((n, _parameter(given)) for n, given in request.query.items())
        ]
        own = {name: parse(text) for name, text in request.headers.items()}
        named = {name.lower() for name in own}
        self._fixed = {name: value for name, value in headers.items() if name.lower() not in named}
        self._headers = own
        self._body = _parsed(request.body, parse)
        self._form = request.body_type == "form"

    def fill(self, arguments: Mapping[str, Any]) -> Outgoing:
        """Make the request of a call.

        Raises:
            BadArguments: One is missing, or cannot stand where it belongs.
        """
        body, kind = self._make_body(arguments)
        headers = {"Accept": "application/json, */*;q=0.5", **({"Content-Type": kind} if kind else {})}
        for name, value in (*self._fixed.items(), *self._make_headers(arguments)):
            for known in [known for known in headers if known.lower() == name.lower()]:
                del headers[known]
            headers[name] = value
        query = "&".join(filter(None, (self._base.query, *self._make_query(arguments))))
        path = self._base.path + self._make_path(arguments)
        return Outgoing(urlunsplit(self._base._replace(path=path, query=query)), headers, body)

    def _make_path(self, arguments: Mapping[str, Any]) -> str:
        def value(name: str) -> str:
            given = arguments.get(name)
            members = given if isinstance(given, list) else [given]
            text = ",".join(quote(_text(each), safe="") for each in members if each is not None)
            if not text:
                # An empty part would be another address, as that of the whole collection.
                raise BadArguments(f"{name} is needed: it is a part of the address")
            return text

        path = self._path.fill(value)
        if _leads_away(path):
            raise BadArguments("an argument would lead to another address: . and .. cannot be parts of one")
        return path

    def _make_query(self, arguments: Mapping[str, Any]) -> Iterator[str]:
        for name, template, style in self._query:
            given = _filled(template, arguments)
            if isinstance(given, dict) and style is Style.REPEAT:
                taken = {other for other, _, _ in self._query} & given.keys()
                if taken:
                    raise BadArguments(
                        f"{name} must not have {', '.join(sorted(taken))}: these are parameters"
                    )
            if given is not None and not isinstance(given, _Absent):
                yield from _query_pairs(name, given, style)

    def _make_headers(self, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name, template in self._headers.items():
            given = _filled(template, arguments)
            if given is None or isinstance(given, _Absent):
                continue
            members = given if isinstance(given, list) else [given]
            value = ",".join(_text(each) for each in members).strip()
            if _SPLITTING.search(value) or not _is_latin(value):
                raise BadArguments(f"the header {name} cannot have what the arguments put into it")
            yield name, value

    def _make_body(self, arguments: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
        body = _fill_all(self._body, arguments)
        if self._body is None or isinstance(body, _Absent):
            return (b"" if self.method in _WITH_BODY else None), None
        if not self._form:
            return orjson.dumps(body), "application/json"
        if not isinstance(body, dict):
            raise BadArguments("the body of a form must be an object")
        pairs = [
            pair
            for name, given in body.items()
            if given is not None
            for pair in _query_pairs(name, _plain(given), Style.REPEAT)
        ]
        return "&".join(pairs).encode(), "application/x-www-form-urlencoded"


def _leads_away(path: str) -> bool:
    """Tell whether a server that decodes the path, once more than it should or not, finds `.` or `..`."""
    decoded = unquote(path)
    forms = (path, decoded, unquote(decoded))
    return any(step in (".", "..") for form in forms for step in _STEPS.split(form))


def _parameter(given: str | QueryParameter) -> QueryParameter:
    return given if isinstance(given, QueryParameter) else QueryParameter(value=given)


def _parsed(body: Any, parse: Any) -> Any:
    match body:
        case str():
            return parse(body)
        case list():
            return [_parsed(each, parse) for each in body]
        case dict():
            return {name: _parsed(each, parse) for name, each in body.items()}
    return body


def _fill_all(body: Any, arguments: Mapping[str, Any]) -> Any:
    match body:
        case Template():
            return _filled(body, arguments)
        case list():
            filled = [_fill_all(each, arguments) for each in body]
            return [each for each in filled if not isinstance(each, _Absent)]
        case dict():
            pairs = {name: _fill_all(each, arguments) for name, each in body.items()}
            return {name: each for name, each in pairs.items() if not isinstance(each, _Absent)}
    return body


def _filled(template: Template, arguments: Mapping[str, Any]) -> Any:
    """Give a place's value as it is, or the text with all values in it; absent if one is."""
    if template.only is not None:
        return arguments.get(template.only, _ABSENT)
    if any(arguments.get(name) is None for name in template.names):
        return _ABSENT
    return template.fill(lambda name: _text(arguments[name]))


def _query_pairs(name: str, given: Any, style: Style) -> Iterator[str]:
    key = quote(name, safe=_NAME_SAFE)
    if style is Style.JSON or not isinstance(given, list | dict):
        yield f"{key}={quote(_text(given), safe='')}"
    elif isinstance(given, dict) and style in (Style.REPEAT, Style.DEEP):
        for part, value in given.items():
            inner = quote(str(part), safe="")
            yield f"{key}[{inner}]={_quoted(value)}" if style is Style.DEEP else f"{inner}={_quoted(value)}"
    else:
        members = given if isinstance(given, list) else [each for pair in given.items() for each in pair]
        values = [_quoted(each) for each in members]
        if style in _SEPARATORS:
            yield f"{key}={_SEPARATORS[style].join(values)}"
        else:
            yield from (f"{key}={value}" for value in values)


def _plain(given: Any) -> Any:
    """Write an object in a form's field as JSON."""
    return orjson.dumps(given).decode() if isinstance(given, dict) else given


def _quoted(value: Any) -> str:
    return quote(_text(value), safe="")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
