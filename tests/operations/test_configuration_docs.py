"""`docs/configuration.md` names every setting, with its default."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from mcp_platform.settings import Settings
from tests.architecture.source_tree import ROOT

PAGE = ROOT / "docs" / "configuration.md"
NO_SETTINGS = {"MCP_PLATFORM_REPLICA", "MCP_PLATFORM_URL", "MCP_PLATFORM_API_KEY"}
"""What marks a replica's processes, and what only the commands for operators read."""
ROW = re.compile(r"(?m)^\| `(MCP_PLATFORM_\w+)` \| (?:`(.*?)`)? ?\|")


def settings_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """Give each setting's variable and default, those of groups too."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.default, BaseModel):
            yield from settings_of(type(field.default), f"{variable}__")
        else:
            yield variable, field.default


def as_written(default: Any) -> str:
    """Spell a default as one sets it in the environment; what is not set is empty."""
    if default is None or isinstance(default, SecretStr):
        return ""
    if isinstance(default, bool | list):
        return json.dumps(default)
    return str(default.value if isinstance(default, Enum) else default)


def test_every_setting_is_on_the_page_with_its_default_and_nothing_else_is() -> None:
    told = dict(ROW.findall(PAGE.read_text()))
    known = {name: as_written(value) for name, value in settings_of(Settings, "MCP_PLATFORM_")}
    assert told == known


def test_every_variable_that_a_page_names_exists() -> None:
    known = {name for name, _ in settings_of(Settings, "MCP_PLATFORM_")}
    pages: list[Path] = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    strangers = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"MCP_PLATFORM_[A-Z_]*[A-Z]", page.read_text())
        if name not in known | NO_SETTINGS
    }
    assert strangers == set()
