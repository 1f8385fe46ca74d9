"""JSON and YAML as people write them, read strictly: what says something twice says nothing for certain."""

import json
import re
from collections.abc import Hashable
from typing import Any, Final, cast

import yaml

from mcp_platform.contracts.base import plain_json

_CORE: Final = "tag:yaml.org,2002:"


class Unreadable(ValueError):
    """A text is no document of its format; the message says why, and where."""


def read_json(text: str) -> Any:
    """Read JSON, as RFC 8259 has it: without comments.

    Raises:
        Unreadable: It is none, says a field twice, or holds what no JSON can.
    """
    try:
        return plain_json(json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_once))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        hint = "; comments are not read" if _has_comment(text, error.pos) else ""
        raise Unreadable(f"is no JSON: {error.msg} at {place}{hint}") from None
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None


def read_yaml(text: str) -> Any:
    """Read one YAML document, by the core schema of YAML 1.2, without aliases.

    Raises:
        Unreadable: It is none, has an alias or a tag of its own, or says a key twice.
    """
    loader = _Loader(text.removeprefix("\ufeff"))
    try:
        return plain_json(loader.get_single_data())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Unreadable(f"is no YAML that is taken: {error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise Unreadable(f"is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None
    finally:
        loader.dispose()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Unreadable(f"says twice: {', '.join(twice)}")
    return fields


def _has_comment(text: str, position: int) -> bool:
    return text[position:].lstrip().startswith(("//", "/*", "#"))


class _Loader(yaml.SafeLoader):
    """Makes of YAML what JSON could say too."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # Aliases of aliases make little text grow without bound.
        if self.check_event(yaml.AliasEvent):
            alias = cast("Any", self).peek_event()
            problem = "an alias (*name), which is not taken: write it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        fields: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=key_node.start_mark)
            key = key_node.value
            if key in fields:
                raise yaml.MarkedYAMLError(problem=f"{key!r} twice", problem_mark=key_node.start_mark)
            fields[key] = self.construct_object(value_node, deep=True)
        return fields

    def refuse(self, node: yaml.Node) -> Any:
        """Take no tag that JSON has no word for."""
        raise yaml.MarkedYAMLError(
            problem=f"the tag {node.tag}, which is not taken", problem_mark=node.start_mark
        )

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Make a number, as YAML 1.2 writes them: 010 is ten."""
        text = str(node.value).lower()
        try:
            if text[:2] in ("0x", "0o"):
                return int(text, 0)
            return int(text) if node.tag == f"{_CORE}int" else float(text)
        except ValueError:
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is no number", problem_mark=node.start_mark
            ) from None


_Loader.yaml_implicit_resolvers = {}
for _tag, _rule, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(rf"^(?:{_rule})$"), _first)
_TAKEN: Final = {_CORE + name for name in ("null", "bool", "str", "seq", "map")}
_Loader.yaml_constructors = {
    **{tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in _TAKEN},
    _CORE + "int": _Loader.number,
    _CORE + "float": _Loader.number,
    None: _Loader.refuse,
}
