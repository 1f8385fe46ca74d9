"""One operation as one tool: its parameters and its body become the tool's arguments."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_platform.contracts.rest import Style
from mcp_platform.formats.openapi.document import References, Unresolved
from mcp_platform.formats.openapi.schemas import Schemas
from mcp_platform.templates import escape

_PLACE = re.compile(r"\{([^{}]+)\}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME: Final = 64
_LONGEST_TEXT: Final = 2000
_IGNORED_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})
"""Parameters of these names mean nothing, says OpenAPI: other parts of the document say what they say."""
_STYLES: Final = {
    "spaceDelimited": Style.SPACE,
    "pipeDelimited": Style.PIPE,
    "deepObject": Style.DEEP,
    "form": Style.COMMA,
}
_COMPOSED: Final = ("allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "additionalProperties")
_FORM: Final = "application/x-www-form-urlencoded"
_JSON = re.compile(r"application/(?:json|[\w.+-]+\+json)(?:\s*;.*)?", re.ASCII)


def clean_name(text: str) -> str:
    """Write a text with the characters, and in the length, that models take in names."""
    return _NOT_IN_NAME.sub("_", text).strip("_.-")[:_LONGEST_NAME] or "unnamed"


@dataclass
class Operation:
    """A method at a path."""

    method: str
    path: str
    fields: dict[str, Any]
    shared: list[Any]
    """Parameters that the path has for all its methods."""

    @property
    def place(self) -> str:
        """How reports call it."""
        return f"{self.method} {self.path}"

    @property
    def id(self) -> str | None:
        """Its `operationId`."""
        found = self.fields.get("operationId")
        return found if isinstance(found, str) and found else None

    @property
    def name(self) -> str:
        """What the tool would be called."""
        return clean_name(self.id or f"{self.method.lower()}{self.path}".replace("{", "").replace("}", ""))

    @property
    def tags(self) -> set[str]:
        """Its tags."""
        tags = self.fields.get("tags")
        return {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()

    @property
    def description(self) -> str:
        """What it does, as the document says."""
        texts = [self.fields.get(name) for name in ("summary", "description")]
        words = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        if self.fields.get("deprecated") is True:
            words.insert(0, "Deprecated.")
        return "\n\n".join(dict.fromkeys(words))[:_LONGEST_TEXT] or self.place


@dataclass
class ToolParts:
    """What a tool is put together from."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Optional parameters that no call can have, each with the reason."""

    def add(self, wire: str, where: str, schema: Any, *, required: bool) -> str:
        """Add an argument, and give the place for it."""
        name = clean_name(wire)
        if name in self.properties:
            name = clean_name(f"{name[: _LONGEST_NAME - len(where) - 1]}_{where}")
        count = 1
        while name in self.properties:
            count += 1
            name = f"{name[: _LONGEST_NAME - 4]}_{count}"
        self.properties[name] = schema
        if required:
            self.required.append(name)
        return f"{{{name}}}"


class ToolReader:
    """Makes a tool of an operation.

    Raises:
        Unresolved: It cannot be a tool; the message says why.
    """

    def __init__(self, operation: Operation, references: References) -> None:
        self._operation = operation
        self._references = references
        self._schemas = Schemas(references)
        self._parts = ToolParts()
        self._in_path: dict[str, str] = {}

    def read(self) -> tuple[dict[str, Any], list[str]]:
        """Give the tool, and what of the operation it has not."""
        for parameter in self._parameters():
            self._add_parameter(parameter)
        request: dict[str, Any] = {"method": self._operation.method, "path": self._path()}
        request |= self._body()
        parts = self._parts
        if parts.query:
            request["query"] = parts.query
        if parts.headers:
            request["headers"] = parts.headers
        parameters: dict[str, Any] = {"type": "object", "properties": parts.properties}
        if parts.required:
            parameters["required"] = parts.required
        if self._schemas.definitions:
            parameters["$defs"] = self._schemas.definitions
        operation = self._operation
        tool = {"name": operation.name, "description": operation.description, "parameters": parameters}
        return {**tool, "request": request}, parts.left_out

    def _parameters(self) -> list[dict[str, Any]]:
        own = self._operation.fields.get("parameters")
        given = [*self._operation.shared, *(own if isinstance(own, list) else [])]
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for each in given:
            parameter = self._references.resolve(each)
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
        return list(found.values())

    def _add_parameter(self, parameter: dict[str, Any]) -> None:
        where, name = str(parameter.get("in")), str(parameter.get("name"))
        required = parameter.get("required") is True or where == "path"
        if where == "header" and name.lower() in _IGNORED_HEADERS:
            return
        if where not in ("path", "query", "header"):
            if required:
                raise Unresolved(f"its parameter {name} belongs into {where}, where no argument can go")
            self._parts.left_out.append(f"the parameter {name}, which belongs into {where}")
            return
        schema, as_json = self._schema_of(parameter)
        style = str(parameter.get("style") or ("form" if where == "query" else "simple"))
        if where == "path" and style != "simple":
            raise Unresolved(f"its parameter {name} has the style {style}, which is not supported")
        place = self._parts.add(name, where, schema, required=required)
        if where == "path":
            self._in_path[name] = place
        elif where == "header":
            self._parts.headers[name] = place
        else:
            self._parts.query[name] = _query(place, style, parameter.get("explode"), as_json)

    def _schema_of(self, parameter: dict[str, Any]) -> tuple[Any, bool]:
        content = parameter.get("content")
        kind = next(iter(content), "") if isinstance(content, dict) else ""
        holder = self._references.resolve(content[kind]) if isinstance(content, dict) and kind else parameter
        schema = self._schemas.translate(holder.get("schema", {}))
        text = parameter.get("description")
        if isinstance(text, str) and isinstance(schema, dict) and "description" not in schema:
            schema = {**schema, "description": text[:_LONGEST_TEXT]}
        return schema, bool(_JSON.fullmatch(kind))

    def _path(self) -> str:
        def place(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self._in_path:
                self._in_path[name] = self._parts.add(name, "path", {"type": "string"}, required=True)
            return self._in_path[name]

        return _PLACE.sub(place, self._operation.path)

    def _body(self) -> dict[str, Any]:
        given = self._operation.fields.get("requestBody")
        if given is None:
            return {}
        if self._operation.method in ("GET", "OPTIONS"):
            self._parts.left_out.append(f"its body: a {self._operation.method} request has none")
            return {}
        body = self._references.resolve(given)
        kind, schema = self._content(body)
        form = kind == _FORM
        plain = self._references.resolve(schema) if isinstance(schema, dict) else {}
        required = body.get("required") is True
        fields: Any
        if _is_flat(plain):
            fields = self._flat_body(plain, all_needed=required)
        elif form and plain.get("type") != "object":
            raise Unresolved("its form is described in a way that cannot be read")
        else:
            fields = self._parts.add("body", "body", self._schemas.translate(schema), required=required)
        if kind not in ("application/json", _FORM):
            self._parts.headers["Content-Type"] = escape(kind)
        return {"body": fields, **({"body_type": "form"} if form else {})}

    def _content(self, body: dict[str, Any]) -> tuple[str, Any]:
        given = body.get("content")
        content: dict[str, Any] = given if isinstance(given, dict) else {}
        kinds = list(content)
        chosen = next((kind for kind in kinds if _JSON.fullmatch(kind)), _FORM if _FORM in kinds else None)
        if chosen is None and "*/*" in kinds:
            return "application/json", self._references.resolve(content["*/*"]).get("schema", {})
        if chosen is None:
            if any(kind.startswith("multipart/") for kind in kinds):
                raise Unresolved("it takes files (multipart), which no argument can be")
            raise Unresolved(f"its body is {', '.join(kinds) or 'of no kind'}; JSON and forms are supported")
        return chosen, self._references.resolve(content[chosen]).get("schema", {})

    def _flat_body(self, schema: dict[str, Any], *, all_needed: bool) -> dict[str, str]:
        needed = schema.get("required")
        required = set(needed) if all_needed and isinstance(needed, list) else set()
        return {
            name: self._parts.add(name, "body", self._schemas.translate(each), required=name in required)
            for name, each in schema["properties"].items()
            if not self._schemas.is_read_only(each)
        }


def _is_flat(schema: dict[str, Any]) -> bool:
    """Whether a body is an object of known fields, which can be arguments of their own."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        return False
    return schema.get("type", "object") == "object" and not any(schema.get(each) for each in _COMPOSED)


def _query(place: str, style: str, explode: Any, as_json: bool) -> Any:
    if as_json:
        return {"value": place, "style": Style.JSON.value}
    if style == "form" and explode is not False:
        return place
    if style not in _STYLES:
        raise Unresolved(f"a parameter has the style {style}, which is not supported")
    return {"value": place, "style": _STYLES[style].value}
