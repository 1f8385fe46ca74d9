"""The folder that a tried process works in, which goes with it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from activities.finishing import to_its_end

_KEPT: Final = {"UV_CONFIG_FILE": ".config/uv/uv.toml", "NPM_CONFIG_USERCONFIG": ".npmrc"}
"""Variables that name an operator's settings for uv and npm, and where these are in the platform's home."""


@asynccontextmanager
async def trial_folder(replica_id: UUID) -> AsyncIterator[str]:
    """Give an empty folder for as long as the body runs: the same each time, so that none stays behind."""
    folder = Path(tempfile.gettempdir()) / f"mcp-platform-trial-{replica_id}"
    try:
        await to_its_end(asyncio.to_thread(_make, folder))
        yield str(folder)
    finally:
        await to_its_end(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def trial_home(folder: str) -> dict[str, str]:
    """Give the variables by which a process has the folder for its home, caches and all.

    Where packages are got from is still as the operator set it up in the platform's home.
    """
    kept = {name: Path.home() / place for name, place in _KEPT.items()}
    return {"HOME": folder} | {name: str(path) for name, path in kept.items() if path.is_file()}


def _make(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
