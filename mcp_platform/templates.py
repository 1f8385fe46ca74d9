"""Texts with `{name}` in them, which an argument's value takes the place of when a tool is called.

`{{` and `}}` stand for the braces themselves. `${NAME}` is no place but a reference to a secret: it
belongs to the text around, so that what an argument says is never taken for one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_TOKEN = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|\{\{|\}\}|\{(?P<name>[^{}]+)\}")
_BRACES: Final = {"{{": "{", "}}": "}"}


@dataclass(frozen=True)
class Place:
    """Where an argument goes."""

    name: str


@dataclass(frozen=True)
class Template:
    """A text, taken apart: words and places in turn."""

    parts: tuple[str | Place, ...]

    @classmethod
    def parse(cls, text: str, words: Callable[[str], str] = str) -> "Template":
        """Take a text apart; `words` is asked for each part of it that is no place."""
        parts: list[str | Place] = []
        plain, end = "", 0
        for match in _TOKEN.finditer(text):
            plain += text[end : match.start()]
            end = match.end()
            if match["name"] is None:
                plain += _BRACES.get(match[0], match[0])
                continue
            if plain:
                parts.append(words(plain))
            parts.append(Place(match["name"]))
            plain = ""
        plain += text[end:]
        if plain or not parts:
            parts.append(words(plain))
        return cls(tuple(parts))

    @property
    def names(self) -> set[str]:
        """The arguments that it has places for."""
        return {part.name for part in self.parts if isinstance(part, Place)}

    @property
    def only(self) -> str | None:
        """The argument's name where there is one place and nothing else."""
        first = self.parts[0]
        return first.name if len(self.parts) == 1 and isinstance(first, Place) else None

    def fill(self, value: Callable[[str], str]) -> str:
        """Give the text with the values that are told for the names."""
        return "".join(value(part.name) if isinstance(part, Place) else part for part in self.parts)


def escape(text: str) -> str:
    """Write a text so that it has no places."""
    return text.replace("{", "{{").replace("}", "}}")


def places(value: Any) -> set[str]:
    """Collect the names of all places in a text, or in all texts of a structure."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                found |= Template.parse(text).names
            case dict() as items:
                waiting += items.values()
            case list() as items:
                waiting += items
    return found
