"""Stdio servers that misbehave, each a command line for `config.servers`."""

import sys
from typing import Any


def python(code: str) -> dict[str, Any]:
    """Give a server that is this Python program."""
    return {"name": "odd", "command": sys.executable, "args": ["-c", code]}


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
