"""How large a schema becomes when its references are followed: a small one may stand for millions."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

_MOST: Final = 10_000
"""Schemas and lists of such, each counted as often as it is referred to."""
_DEEPEST: Final = 200
_LONGEST: Final = 1000
"""Characters of a reference."""
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMES: Final = ("$anchor", "$dynamicAnchor", "$id", "id")
_DEFINITIONS: Final = ("$defs", "definitions")


def check_expansion(schema: dict[str, Any]) -> None:
    """See to it that checking against the schema cannot take exponentially long.

    Raises:
        ValueError: It is too large with its references followed, or too deep, or they lead elsewhere.
    """
    _Expansion(schema).count()


class _Expansion:
    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._anchors: dict[str, list[Any]] = {}
        self._bases = [schema]
        """What pointers may begin at: a part with an id is a document of its own."""
        self._left = _MOST

    def count(self) -> None:
        self._note_names()
        # What nothing refers to is never applied.
        applied = {name: value for name, value in self._schema.items() if name not in _DEFINITIONS}
        self._visit(applied, (), 0)

    def _note_names(self) -> None:
        pending: list[Any] = [self._schema]
        while pending:
            each = pending.pop()
            if isinstance(each, list):
                pending += each
            elif isinstance(each, dict):
                pending += each.values()
                names = [name for key in _NAMES if isinstance(name := each.get(key), str)]
                for name in names:
                    self._anchors.setdefault(name.removeprefix("#"), []).append(each)
                if names and each is not self._schema:
                    self._bases.append(each)

    def _visit(self, node: Any, path: tuple[int, ...], depth: int) -> None:
        """Count a node and all it leads to; `path` are the references that led here."""
        if not isinstance(node, dict | list):
            return
        self._spend()
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        for each in node if isinstance(node, list) else node.values():
            self._visit(each, path, depth + 1)
        if isinstance(node, dict):
            for key in _REFERENCES:
                for target in self._targets(node.get(key)):
                    if id(target) not in path:  # one that leads to itself goes on with the arguments only
                        self._visit(target, (*path, id(target)), depth + 1)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"with its references followed it has more than {_MOST} parts")

    def _targets(self, reference: Any) -> Iterator[Any]:
        if not isinstance(reference, str):
            return
        if not reference.startswith("#") or len(reference) > _LONGEST:
            raise ValueError("it has a reference that is not to a part of itself")
        fragment = unquote(reference[1:])
        if fragment and not fragment.startswith("/"):
            yield from self._anchors.get(fragment, ())
            return
        steps = [step.replace("~1", "/").replace("~0", "~") for step in fragment.split("/")[1:]]
        for base in self._bases:
            self._spend()
            yield _at(base, steps)


def _at(node: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return node
