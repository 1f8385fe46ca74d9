"""Arguments of calls, held against the schemas that tools declare."""

from collections.abc import Callable
from typing import Any, Final

import jsonschema_rs
import orjson
import structlog

from gateway.policy.expansion import check_expansion
from gateway.tools import ToolList

log = structlog.get_logger(__name__)

_LARGEST: Final = 262_144
"""Bytes of a schema; a larger one is not checked against: making it ready would hold up other calls."""
_BACKTRACKS: Final = 10_000
"""Steps back that one regular expression of a schema may take."""
_MOST_SHOWN: Final = 5
_LONGEST: Final = 300

Validator = Callable[[dict[str, Any]], bool]
_Compiled = jsonschema_rs.Draft202012Validator


class ArgumentChecks:
    """The schemas of all tools, made ready when a tool is called first.

    The dialect is the one that `$schema` names, and JSON Schema 2020-12 without it (MCP 2025-11-25 and
    later). Nothing is fetched for a `$ref`. A schema that cannot be used leaves its tool unchecked.
    """

    def __init__(self) -> None:
        self._by_slug: dict[str, tuple[str, dict[str, Any]]] = {}

    def problems(self, tools: ToolList, tool: str, arguments: dict[str, Any]) -> list[str]:
        """Tell what is wrong with the arguments of a call; nothing, or what cannot be told, is right."""
        known = self._by_slug.get(tools.slug)
        if known is None or known[0] != tools.digest:
            known = self._by_slug[tools.slug] = (tools.digest, {})
        validators = known[1]
        try:
            validator = validators[tool]
        except KeyError:
            definition = tools.tools.get(tool)
            if definition is None:
                return []
            validator = validators[tool] = _compiled(tools.slug, tool, definition.get("inputSchema"))
        if validator is None or validator.is_valid(arguments):
            return []
        return _described(validator, arguments)

    def forget(self, slug: str) -> None:
        """Drop what is kept of a slug that is gone, or has other tools."""
        self._by_slug.pop(slug, None)


def _compiled(slug: str, tool: str, schema: Any) -> Any:
    if not isinstance(schema, dict):
        return None
    try:
        if len(orjson.dumps(schema)) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST} bytes")
        check_expansion(schema)
        return jsonschema_rs.validator_for(
            schema,
            offline=True,
            validate_formats=False,
            # Arguments are the caller's secrets: what is said of them names their places only.
            mask="the value",
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
    except (ValueError, TypeError) as error:
        log.warning("schema_not_usable", slug=slug, tool=tool, error=str(error)[:_LONGEST])
        return None


def _described(validator: Any, arguments: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for error in validator.iter_errors(arguments):
        if len(found) == _MOST_SHOWN:
            found.append("and more")
            break
        place = "".join(f"/{step}" for step in error.instance_path)
        found.append(f"{place or 'the arguments'}: {error.message}"[:_LONGEST])
    return found
