"""What the search is judged by: real servers' tools, and how people ask for them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def lines(name: str) -> list[str]:
    """Read a file's lines that are no remarks."""
    return [line for line in (HERE / name).read_text("utf-8").splitlines() if line[:1] not in ("", "#")]


def servers() -> dict[str, list[dict[str, Any]]]:
    """Give the tools of each server as `tools/list` would."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines("tools.txt"):
        server, name, description, parameters = line.split("|")
        schema = {"type": "object", "properties": dict(_properties(parameters))}
        tool = {"name": name, "description": description, "inputSchema": schema}
        found.setdefault(server, []).append(tool)
    return found


def queries(name: str) -> list[tuple[str, str]]:
    """Give what is asked, each with the tool that suits, as `server/tool`."""
    pairs = (line.rpartition("|") for line in lines(name))
    return [(asked, wanted) for asked, _, wanted in pairs]


def _properties(parameters: str) -> Iterable[tuple[str, dict[str, str]]]:
    for each in parameters.split(";"):
        name, _, told = each.partition(":")
        if name.strip():
            yield name.strip(), {"type": "string", "description": told.strip()}
