"""JSON Patches of configurations (RFC 6902): made, applied, and seen whether they still fit."""

import copy
from typing import Any, Final

from jsonpatch import JsonPatch, JsonPatchException
from jsonpointer import JsonPointer, JsonPointerException
from pydantic import ValidationError

from mcp_platform.contracts.mcps import McpConfig

Patch = list[dict[str, Any]]
_NOTHING: Final = object()


class DoesNotFit(ValueError):
    """A patch cannot be applied to a configuration, or what comes of it is none."""


def pointer(*steps: str | int) -> str:
    """Give the JSON Pointer (RFC 6901) of a place."""
    return JsonPointer.from_parts([str(step) for step in steps]).path


def patched(config: dict[str, Any], patch: Patch) -> McpConfig:
    """Give the configuration that comes of a patch.

    Raises:
        DoesNotFit: It cannot be applied, changes nothing, or leaves no valid configuration.
    """
    try:
        changed = JsonPatch(patch).apply(copy.deepcopy(config))
    except (JsonPatchException, JsonPointerException, TypeError) as error:
        raise DoesNotFit(f"the patch cannot be applied: {error}") from None
    if changed == config:
        raise DoesNotFit("the patch changes nothing")
    try:
        return McpConfig.model_validate(changed)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise DoesNotFit(f"what comes of the patch is not valid: {place}: {first['msg']}") from None


def still_fits(patch: Patch, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Tell whether a patch that was made for one configuration means the same in another.

    Each place that it changes must hold the same in both, and belong to the server or tool of the same
    name: numbers of places say nothing once something was put before them.
    """
    for step in patch:
        path = str(step.get("path", ""))
        element = "/".join(path.split("/")[:3])
        for place in (path, f"{element}/name"):
            if _at(before, place) != _at(now, place):
                return False
    return True


def _at(config: dict[str, Any], path: str) -> Any:
    try:
        return JsonPointer(path).resolve(config, _NOTHING)
    except JsonPointerException:
        return _NOTHING
