"""Changes in JSON and YAML that somebody wrote by hand: what stays the same stays as it was written."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mcp_platform.differences import differences
from mcp_platform.formats.documents import read_yaml

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_INDENT: Final = re.compile(r"\n([ \t]+)\S")
_DECODER: Final = json.JSONDecoder()
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that YAML, in one version or another, takes for something else."""


@dataclass(frozen=True)
class _Change:
    """What takes the place of a part of a text."""

    start: int
    end: int
    text: str


def edited_json(text: str, new: Any) -> str:
    """Give the JSON text with this value, in its own indentation and order of fields."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix("\ufeff")
    found = _INDENT.search(body)
    writer = _Json(body, found[1] if found else "")
    start = _skip(body, 0)
    return mark + _with(body, writer.changes(start, _DECODER.raw_decode(body, start)[0], new))


def edited_yaml(text: str, new: Any) -> str:
    """Give the YAML text with this value; comments stand where nothing around them has changed."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix("\ufeff")
    root = yaml.compose(body, Loader=yaml.SafeLoader)
    if root is None:
        return mark + _block(new, "") + "\n"
    return mark + _with(body, _Yaml(body).changes(root, read_yaml(body), new))


def _with(text: str, changes: Iterator[_Change]) -> str:
    for change in sorted(changes, key=lambda each: each.start, reverse=True):
        written = change.text.replace("\n", "\r\n") if "\r\n" in text else change.text
        text = text[: change.start] + written + text[change.end :]
    return text


def _same(old: Any, new: Any) -> bool:
    return next(differences(old, new), None) is None


def _in_order(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Give the new fields, those that there were before in their old order."""
    return {name: new[name] for name in [*old, *new] if name in new}


class _Json:
    def __init__(self, text: str, indent: str) -> None:
        self._text = text
        self._indent = indent

    def changes(self, start: int, old: Any, new: Any) -> Iterator[_Change]:
        """Give the changes that make the value at this place the new one."""
        if _same(old, new):
            return
        if isinstance(old, dict) and isinstance(new, dict) and old and old.keys() <= new.keys():
            last = start
            for name, (place, end) in self._members(start):
                yield from self.changes(place, old[name], new[name])
                last = end
            added = {name: new[name] for name in new if name not in old}
            if added:
                yield self._addition(start, last, added)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for (place, _), before, after in zip(self._items(start), old, new, strict=True):
                yield from self.changes(place, before, after)
        else:
            whole = _in_order(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
            end = _DECODER.raw_decode(self._text, start)[1]
            yield _Change(start, end, self._written(whole, self._margin(start), self._wide(start, end)))

    def _addition(self, start: int, last: int, added: dict[str, Any]) -> _Change:
        """Put fields behind the last one of an object."""
        wide = self._wide(start, _DECODER.raw_decode(self._text, start)[1])
        margin = self._margin(start) + self._indent
        fields = (
            f"{json.dumps(name, ensure_ascii=False)}: {self._written(value, margin, wide)}"
            for name, value in added.items()
        )
        between = f",\n{margin}" if wide else ", "
        return _Change(last, last, "".join(between + field for field in fields))

    def _written(self, value: Any, margin: str, wide: bool) -> str:
        written = json.dumps(value, ensure_ascii=False, indent=self._indent if wide else None)
        return written.replace("\n", f"\n{margin}")

    def _wide(self, start: int, end: int) -> bool:
        """Tell whether this value is to be written on several lines."""
        inside = self._text[start:end]
        return bool(self._indent) and ("\n" in inside or inside[:1] not in "{[" or inside in ("{}", "[]"))

    def _margin(self, place: int) -> str:
        line = self._text[self._text.rfind("\n", 0, place) + 1 : place]
        return line[: len(line) - len(line.lstrip())]

    def _members(self, start: int) -> Iterator[tuple[str, tuple[int, int]]]:
        place = _skip(self._text, start + 1)
        while self._text[place] != "}":
            name, place = _DECODER.raw_decode(self._text, place)
            place = _skip(self._text, _skip(self._text, place) + 1)
            end = _DECODER.raw_decode(self._text, place)[1]
            yield name, (place, end)
            place = _skip(self._text, end)
            place = _skip(self._text, place + 1) if self._text[place] == "," else place

    def _items(self, start: int) -> Iterator[tuple[int, int]]:
        place = _skip(self._text, start + 1)
        while self._text[place] != "]":
            end = _DECODER.raw_decode(self._text, place)[1]
            yield place, end
            place = _skip(self._text, end)
            place = _skip(self._text, place + 1) if self._text[place] == "," else place


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


class _Yaml:
    def __init__(self, text: str) -> None:
        self._text = text

    def changes(self, node: yaml.Node, old: Any, new: Any) -> Iterator[_Change]:
        """Give the changes that make the value of a node the new one."""
        if _same(old, new):
            return
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict):
            if old and (old.keys() <= new.keys() if not node.flow_style else old.keys() == new.keys()):
                for key, value in node.value:
                    yield from self.changes(value, old[key.value], new[key.value])
                added = {name: new[name] for name in new if name not in old}
                if added:
                    margin = " " * node.start_mark.column
                    place = self._line_end(self._end(node))
                    yield _Change(place, place, f"\n{margin}{_block(added, margin)}")
                return
            new = _in_order(old, new)
        elif isinstance(node, yaml.SequenceNode) and isinstance(new, list) and len(old) == len(new):
            for item, before, after in zip(node.value, old, new, strict=True):
                yield from self.changes(item, before, after)
            return
        yield self._replacement(node, new)

    def _replacement(self, node: yaml.Node, new: Any) -> _Change:
        start, end = node.start_mark.index, self._end(node)
        block = isinstance(node, yaml.CollectionNode) and not node.flow_style
        if block and new and isinstance(new, dict | list):
            return _Change(start, end, _block(new, " " * node.start_mark.column))
        gap = "" if start == 0 or self._text[start - 1] in " \t\n[{" else " "
        return _Change(start, end, gap + json.dumps(new, ensure_ascii=False))

    def _line_end(self, place: int) -> int:
        """Give the end of the line, where nothing but a comment stands between."""
        end = self._text.find("\n", place)
        end = len(self._text) if end < 0 else end
        rest = self._text[place:end].strip()
        return end if not rest or rest.startswith("#") else place

    def _end(self, node: yaml.Node) -> int:
        """Give the end of the node's last scalar: a block reaches over what follows it."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        start, end = node.start_mark.index, node.end_mark.index
        return start + len(self._text[start:end].rstrip())


def _block(value: Any, margin: str) -> str:
    """Write a value that has something in it as lines, of which all but the first have the margin."""
    inner = margin + "  "
    if isinstance(value, dict):
        lines = (f"{_scalar(name)}:{_below(each, inner)}" for name, each in value.items())
    else:
        lines = (
            f"- {_block(each, inner) if each and isinstance(each, dict | list) else _scalar(each)}"
            for each in value
        )
    return f"\n{margin}".join(lines)


def _below(value: Any, margin: str) -> str:
    if value and isinstance(value, dict | list):
        return f"\n{margin}{_block(value, margin)}"
    return f" {_scalar(value)}"


def _scalar(value: Any) -> str:
    # YAML 1.2 takes JSON wherever a value may stand.
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
