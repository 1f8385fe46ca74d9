"""Stdio servers that misbehave, each a command line for `config.servers`."""

import sys
from pathlib import Path
from typing import Any


def python(code: str) -> dict[str, Any]:
    """Give a server that is this Python program."""
    return {"name": "odd", "command": sys.executable, "args": ["-c", code]}


def tiny(word: str) -> dict[str, Any]:
    """Give our own small server, whose tools say this word."""
    return {"name": "tiny", "command": sys.executable, "args": [str(TINY), word]}


def launched(folder: Path, version: str, *args: str) -> dict[str, Any]:
    """Give the tiny server as a package with a version, which its tools say; version 9 leaves at once.

    The launcher lies in the folder, so that no registry is asked.
    """
    launcher = folder / "uvx"
    if not launcher.exists():
        program = (
            f'case "$1" in *==9.*) echo "no luck" >&2; exit 7;; esac\nexec "{sys.executable}" "{TINY}" "$1"'
        )
        launcher.write_text(f"#!/bin/sh\n{program}\n")
        launcher.chmod(0o755)
    return {"name": "tiny", "command": str(launcher), "args": [f"tiny-words=={version}", *args]}


TINY = Path(__file__).with_name("tiny_server.py")

TIME = {"name": "time", "command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}

MISSING = {"name": "missing", "command": "no-such-command-anywhere"}

LEAVES_AT_ONCE = python("import sys; print('no configuration found', file=sys.stderr); sys.exit(7)")

NEVER_SPEAKS = python("import time; time.sleep(600)")

FLOODS_STDERR = python(
    "import sys\nwhile True: sys.stderr.write('x' * 1000 + '\\n')",
)

IGNORES_SIGTERM = python(
    "import signal, subprocess, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "sys.exit(subprocess.call([sys.executable, '-m', 'mcp_server_time', '--local-timezone', 'UTC']))"
)
