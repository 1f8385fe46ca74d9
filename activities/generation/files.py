"""Reading the files of a folder that a stranger filled."""

import stat
from pathlib import Path
from typing import Final

_LARGEST: Final = 1_048_576
"""Bytes of a file that is read; longer ones count as missing."""


class Files:
    """Reads files that lie within a folder themselves: a link may lead to any file of this machine.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def text(self, name: str) -> str | None:
        """Give the text of a file; None where there is none, or none that is plain, short and in UTF-8."""
        path = self._folder / name
        try:
            status = path.lstat()
            inside = path.resolve(strict=True).is_relative_to(self._folder)
            if not inside or not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                return None
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError, RuntimeError):
            return None

    def names(self, folder: str, endings: tuple[str, ...]) -> list[str]:
        """List the files of a folder with one of these endings, by name."""
        path = self._folder / folder
        try:
            if path.is_symlink() or not path.is_dir():
                return []
            return sorted(f"{folder}/{each.name}" for each in path.iterdir() if each.name.endswith(endings))
        except OSError:
            return []
