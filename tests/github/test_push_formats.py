"""Files that people wrote, with other values in them."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from activities.github_sync.markdown import code, fenced
from mcp_platform.formats.documents import read_json, read_yaml
from mcp_platform.formats.edited import edited_json, edited_yaml

JSON = """{
    "mcpServers": {
        "time": { "command": "uvx", "args": ["a", "b"], "env": {"A": "1"} },
        "other": {
            "command": "x",
            "args": []
        }
    },
    "theme": 1
}
"""
YAML = """# head
name: weather   # why
servers:
  - name: a
    command: uvx
    args: [x, "y"]
  - name: b
    env:
      A: "1"   # note
# tail
other: {a: 1}
"""


def test_values_of_json_change_where_they_stand() -> None:
    new = json.loads(JSON)
    new["mcpServers"]["time"]["args"][1] = "c"
    new["mcpServers"]["other"] |= {"args": ["x"], "env": {"K": "${K}"}}
    assert edited_json(JSON, new) == JSON.replace('"b"]', '"c"]').replace(
        '"args": []',
        '"args": [\n                "x"\n            ],\n'
        '            "env": {\n                "K": "${K}"\n            }',
    )
    assert edited_json(JSON, json.loads(JSON)) == JSON


@pytest.mark.parametrize(
    ("text", "new", "written"),
    [
        ("{}", {"a": [1, 2]}, '{"a": [1, 2]}'),
        ('{"a":1,"z":{}}', {"a": 2, "z": {"q": 1}, "n": None}, '{"a":2,"z":{"q": 1}, "n": null}'),
        ('\ufeff{"a": "x\\"}"}', {"a": "y"}, '\ufeff{"a": "y"}'),
        ('{"a": 1,\r\n  "b": {}}', {"a": 1, "b": {"c": 1}}, '{"a": 1,\r\n  "b": {\r\n    "c": 1\r\n  }}'),
        ('{"a": true}', {"a": 1}, '{"a": 1}'),
        ('{"b": 1, "a": 2}', {"a": 3}, '{"a": 3}'),
    ],
)
def test_json_keeps_its_own_style(text: str, new: Any, written: str) -> None:
    assert edited_json(text, new) == written
    assert read_json(written) == new


def test_comments_of_yaml_stay() -> None:
    new = read_yaml(YAML)
    new["name"] = "sun: 1"
    new["servers"][1]["env"] |= {"A": "2", "B": "yes"}
    assert edited_yaml(YAML, new) == YAML.replace("weather", '"sun: 1"').replace(
        'A: "1"   # note', 'A: "2"   # note\n      B: "yes"'
    )


def append(value: dict[str, Any]) -> None:
    value["servers"].append({"name": "c", "args": ["010", "yes", "1e5"], "env": {}})


def remove(value: dict[str, Any]) -> None:
    del value["servers"][0]["command"]
    value["new"] = {"q": [{"z": 1}, [1, [2]]]}
    value["other"]["b"] = [1]


def empty(value: dict[str, Any]) -> None:
    value["servers"] = []
    value["other"] = None


def nest(value: dict[str, Any]) -> None:
    value["servers"][0]["command"] = {"a": 1}


@pytest.mark.parametrize("change", [append, remove, empty, nest])
def test_yaml_says_what_was_meant(change: Callable[[dict[str, Any]], None]) -> None:
    new = copy.deepcopy(read_yaml(YAML))
    change(new)
    written = edited_yaml(YAML, new)
    assert read_yaml(written) == new
    assert written.startswith("# head\n")


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("a:\n", {"a": {"b": 1}}),
        ("", {"a": 1}),
        ("a: |\n  text\n  more\nb: 2\n", {"a": "x", "b": 2}),
        ("a: >-\n  text\n\nb: 2\n", {"a": {"c": 1}, "b": 2}),
    ],
)
def test_odd_yaml_is_understood(text: str, new: Any) -> None:
    assert read_yaml(edited_yaml(text, new)) == new


@pytest.mark.parametrize("text", ["```", "a ````` b", "x\n```\n# y", "", "\x1b[31m|@admin|"])
def test_no_text_leaves_its_block_or_its_line(text: str) -> None:
    block = fenced(text).split("\n")
    assert block[0].strip("`") == ""
    assert all(len(line) < len(block[0]) or line.strip("`") for line in block[1:-1])
    line = code(text)
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.replace("\\|", "").count("|") == 0
