"""Reading prompts."""

import re
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
_VERSION = re.compile(r"v([1-9]\d*)\.md")


@dataclass(frozen=True)
class Prompt:
    """What a model is told to do."""

    name: str
    version: int
    text: str

    @property
    def label(self) -> str:
        """Name it with its version, as results do."""
        return f"{self.name}/v{self.version}"


def read_prompt(name: str, folder: Path = _FOLDER) -> Prompt:
    """Read the newest version of a prompt.

    Raises:
        LookupError: There is no prompt of this name.
    """
    found = {
        int(match[1]): path for path in (folder / name).glob("*") if (match := _VERSION.fullmatch(path.name))
    }
    if not found:
        raise LookupError(f"there is no prompt {name!r}")
    newest = max(found)
    return Prompt(name, newest, found[newest].read_text(encoding="utf-8").strip())
