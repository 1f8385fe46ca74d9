"""What the programs that read files have in common.

They import little: each file has a process of its own, whose start somebody waits for.
"""

import json
import resource
import sys
from collections.abc import Callable
from typing import Final

MAX_PAGES: Final = 2_000
_MEMORY: Final = 2**30


def serve(read: Callable[[bytes, int], dict[str, str]]) -> None:
    """Read one file from standard input; write `text` and `title`, or `problem`, as JSON.

    The first argument is how many characters are wanted at most, the second how many seconds there are.
    """
    longest, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    sys.stdout.write(json.dumps(read(sys.stdin.buffer.read(), longest)))


def clean(text: str) -> str:
    """Leave out what no text may contain."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()
