"""The MCPs that a file of another program describes, one for each of its entries."""

import re
from dataclasses import dataclass
from typing import Any

from mcp_platform.contracts.exchange import ImportFile
from mcp_platform.formats.mcp_servers import read_server
from mcp_platform.formats.server_json import NoServer, read_config


class NotImported(Exception):
    """An entry cannot be an MCP; the message says why."""


@dataclass(frozen=True)
class Entry:
    """What a file says of one MCP."""

    name: str
    slug: str
    config: dict[str, Any]
    title: str = ""
    description: str = ""
    version: str = "1.0.0"


def slug_of(name: str) -> str:
    """Make a slug of a name."""
    words = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name.lower())
    return "-".join(words.split())[:100].strip("-")


def is_semantic(version: str) -> bool:
    """Tell whether a version is three numbers, as those of MCPs are."""
    return re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", version, re.ASCII) is not None


def entries_of(file: ImportFile) -> dict[str, Entry | NotImported]:
    """Read the entries of a file, by their names in it."""
    if file.mcp_servers is not None or file.servers is not None:
        named = {**(file.servers or {}), **(file.mcp_servers or {})}
        return {
            key: Entry(key, slug_of(key), {"servers": [read_server(key, entry)]})
            for key, entry in named.items()
        }
    name = file.name or ""
    slug = slug_of(name.rpartition("/")[2])
    try:
        config = read_config(slug, file.model_dump(by_alias=True, exclude_none=True))
    except (NoServer, AttributeError, KeyError, TypeError) as error:
        reason = str(error) if isinstance(error, NoServer) else f"it is no server.json: {error}"
        return {name: NotImported(reason)}
    version = file.version or ""
    return {
        name: Entry(
            name,
            slug,
            config,
            file.title or name.rpartition("/")[2],
            file.description or "",
            version if is_semantic(version) else "1.0.0",
        )
    }
