"""The interface behind which images are built, and what can go wrong there."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from mcp_platform.contracts.images import GitSource
from mcp_platform.variables import Mask

KEPT_LINES = 200
"""How many of the last lines of a build are kept."""
_LONGEST_LINE = 500


class BuildFailed(Exception):
    """Why there is no image, in words for its owner; the same build fails again."""


class BuildTranscript:
    """The last lines that a build wrote, without secrets.

    Args:
        mask: Takes the secrets out.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._written = 0

    def add(self, line: str) -> None:
        """Keep a line."""
        # Masked before it is cut: half a secret would not be known again.
        self._lines.append(self._mask.text(line[: 4 * _LONGEST_LINE])[:_LONGEST_LINE])
        self._written += 1

    @property
    def lines(self) -> list[str]:
        """The lines that are kept, oldest first."""
        return list(self._lines)

    @property
    def left_out(self) -> int:
        """How many were written before them."""
        return self._written - len(self._lines)


@dataclass(frozen=True)
class ImagePlan:
    """What the engine is to build: a Dockerfile, the files it copies, and what to call the result."""

    tag: str
    dockerfile: str
    files: Mapping[str, bytes]
    """By their path in the build's context."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Folders on this machine that are put into the context, by their path there."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    words: Sequence[str] = ()
    """What each step of the Dockerfile does, in words."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What marks the images that a build without success leaves behind."""


@dataclass(frozen=True)
class Step:
    """A step of a Dockerfile that begins."""

    number: int
    total: int
    command: str


class ImageBuilder(Protocol):
    """Builds images. Each method raises `DriverUnavailable` where the engine cannot be reached."""

    async def image_id(self, name: str) -> str | None:
        """Give the id of an image that the engine has."""
        ...

    async def ensure_pulled(self, name: str) -> str:
        """Give the id of an image; the engine gets it where it does not have it.

        Raises:
            BuildFailed: It cannot be had.
        """
        ...

    async def build(self, plan: ImagePlan, transcript: BuildTranscript, began: Callable[[Step], None]) -> str:
        """Build an image and give its id; a build that is cancelled, or fails, leaves nothing.

        Args:
            plan: What to build.
            transcript: Takes what is written.
            began: Is called as each step begins.

        Raises:
            BuildFailed: A step failed; the message says which, and shows its output.
        """
        ...

    async def remove_unused(self, used: set[str], grace: timedelta) -> list[str]:
        """Remove what this platform built, is older and nobody uses; give the tags that went.

        Args:
            used: Ids of images that stay.
            grace: What is younger stays too.
        """
        ...


class Checkouts(Protocol):
    """Gets the files of Git repositories."""

    async def fetch(self, source: GitSource, token: str | None, target: Path) -> str:
        """Put the files, and nothing of Git's own, into an empty folder; give the commit.

        Raises:
            BuildFailed: They cannot be had; the message says why.
        """
        ...
