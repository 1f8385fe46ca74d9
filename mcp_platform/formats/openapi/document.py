"""The document itself: JSON or YAML, and the references within it, which never lead out of it."""

import json
import re
from typing import Any, Final
from urllib.parse import unquote

import yaml

from mcp_platform.contracts.base import plain_json

_MOST_STEPS: Final = 50
"""References that may follow one another before it is a circle."""
_BOOL: Final = "tag:yaml.org,2002:bool"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_YAML_12_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")


class NoOpenApi(ValueError):
    """The document cannot be read; the message says why."""


class Unresolved(ValueError):
    """A reference leads nowhere, in a circle, or out of the document."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 as JSON's elder sister: `no`, `on` and dates are texts, and nothing is said twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # Aliases of aliases make little text grow without bound.
        if self.check_event(yaml.AliasEvent):
            raise NoOpenApi("has a YAML alias (*name), which is not taken: use $ref")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in (_BOOL, _TIMESTAMP)]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, _YAML_12_BOOL, list("tTfF"))


def read_document(text: str | dict[str, Any]) -> dict[str, Any]:
    """Read a document; takes its time, as YAML does.

    Raises:
        NoOpenApi: It is neither JSON nor YAML, or not an OpenAPI document of version 3.0 or 3.1.
    """
    document = _parsed(text) if isinstance(text, str) else text
    if not isinstance(document, dict):
        raise NoOpenApi("is no object")
    if "swagger" in document:
        raise NoOpenApi("is a Swagger 2.0 document; convert it to OpenAPI 3 first")
    version = str(document.get("openapi", ""))
    if not version.startswith(("3.0", "3.1")):
        raise NoOpenApi(f"has openapi: {version or 'nothing'}; 3.0 and 3.1 can be read")
    if not isinstance(document.get("paths"), dict):
        raise NoOpenApi("has no paths")
    return document


def _parsed(text: str) -> Any:
    try:
        if text.lstrip().startswith("{"):
            return plain_json(json.loads(text))
        return plain_json(_with_text_keys(yaml.load(text, _Loader)))
    except json.JSONDecodeError as error:
        raise NoOpenApi(f"is no JSON: {error}") from None
    except yaml.YAMLError as error:
        raise NoOpenApi(f"is no YAML: {error}") from None
    except NoOpenApi:
        raise
    except ValueError as error:
        raise NoOpenApi(str(error)) from None
    except RecursionError:
        raise NoOpenApi("is nested too deeply") from None


def _with_text_keys(value: Any) -> Any:
    """Write keys as JSON has them: YAML takes the 200 of a response for a number."""
    match value:
        case dict():
            return {str(key): _with_text_keys(each) for key, each in value.items()}
        case list():
            return [_with_text_keys(each) for each in value]
    return value


class References:
    """Finds what `$ref` leads to, within one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def find(self, pointer: str) -> Any:
        """Give the part of the document that a reference names.

        Raises:
            Unresolved: There is none, or it is in another document.
        """
        if not pointer.startswith("#"):
            raise Unresolved(f"it refers to another document: {pointer}")
        if pointer != "#" and not pointer.startswith("#/"):
            raise Unresolved(f"it refers to an anchor: {pointer}")
        found: Any = self._document
        for step in pointer[2:].split("/") if len(pointer) > 1 else []:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (KeyError, IndexError, TypeError, ValueError):
                raise Unresolved(f"it refers to what is not there: {pointer}") from None
        return found

    def resolve(self, value: Any) -> dict[str, Any]:
        """Follow a reference, and what it leads to, until something stands there itself.

        Raises:
            Unresolved: That is nowhere, or no object.
        """
        for _ in range(_MOST_STEPS):
            if not isinstance(value, dict):
                raise Unresolved("it has something that is no object where one belongs")
            pointer = value.get("$ref")
            if not isinstance(pointer, str):
                return value
            value = self.find(pointer)
        raise Unresolved("its references go round in a circle")
