"""The schemas of an OpenAPI document as JSON Schema 2020-12, which MCP asks for."""

import re
from typing import Any, Final

from mcp_platform.formats.openapi.document import References, Unresolved

_LEFT_OUT: Final = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "discriminator",
        "xml",
        "externalDocs",
        "example",
        "nullable",
        "readOnly",
        "writeOnly",
    }
)
"""Keywords that are not JSON Schema's, or that would make references mean something else."""
_OF_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_BY_NAME: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_OF_SCHEMA: Final = frozenset(
    {
        "items",
        "additionalProperties",
        "not",
        "if",
        "then",
        "else",
        "contains",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


class Schemas:
    """Translates the schemas of one tool, and collects what they refer to."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._names: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        """The names that are given, each with the number of the last one that was made of it."""
        self.definitions: dict[str, Any] = {}
        """What the translated schemas refer to, by name: it belongs into `$defs`."""

    def translate(self, schema: Any) -> Any:
        """Give a schema as JSON Schema 2020-12, its references leading to `#/$defs`.

        Raises:
            Unresolved: It refers to something out of the document, or to nothing.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise Unresolved("it has a schema that is no object")
        if "$dynamicRef" in schema:
            raise Unresolved("it has a $dynamicRef, which is not followed")
        found = {
            name: self._keyword(name, value)
            for name, value in schema.items()
            if name not in _LEFT_OUT and not name.startswith("x-")
        }
        _correct_bounds(found)
        return _with_null(found) if schema.get("nullable") is True else found

    def _keyword(self, name: str, value: Any) -> Any:
        if name == "$ref":
            return f"#/$defs/{self._define(value)}"
        if name in _OF_SCHEMAS and isinstance(value, list):
            return [self.translate(each) for each in value]
        if name in _BY_NAME and isinstance(value, dict):
            hidden = [key for key, each in value.items() if self.is_read_only(each)]
            return {key: self.translate(each) for key, each in value.items() if key not in hidden}
        if name in _OF_SCHEMA:
            return self.translate(value)
        return value

    def is_read_only(self, schema: Any) -> bool:
        """Tell whether a property is only ever in answers."""
        return isinstance(schema, dict) and schema.get("readOnly") is True

    def _define(self, pointer: Any) -> str:
        if not isinstance(pointer, str):
            raise Unresolved("it has a $ref that is no text")
        known = self._names.get(pointer)
        if known is not None:
            return known
        found = self._references.find(pointer)
        base = _NOT_IN_NAME.sub("_", pointer.rpartition("/")[2]) or "schema"
        name, count = base, self._taken.get(base, 1)
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken[base] = count
        self._taken.setdefault(name, 1)
        # Named before it is translated: schemas may refer to themselves.
        self._names[pointer] = name
        self.definitions[name] = self.translate(found)
        return name


def _correct_bounds(schema: dict[str, Any]) -> None:
    """Write 3.0's `exclusiveMinimum: true` beside `minimum` as the one number of today."""
    for exclusive, bound in _BOUNDS:
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Write 3.0's `nullable` as today's types do."""
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        return schema
    return {"anyOf": [schema, {"type": "null"}]}
