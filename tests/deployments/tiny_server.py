"""A stdio MCP server of a few milliseconds: `python tiny_server.py WORD`; its tools say the word."""

import json
import os
import sys
import threading
import time

WORD = sys.argv[1] if len(sys.argv) > 1 else "hello"
READ_ONLY = {"readOnlyHint": True}
OBJECT = {"type": "object"}
TOOLS = [
    {"name": "say", "description": "Say the word.", "inputSchema": OBJECT, "annotations": READ_ONLY},
    {"name": "slow", "description": "Say it after a while.", "inputSchema": OBJECT, "annotations": READ_ONLY},
    {"name": "eat", "description": "Use memory.", "inputSchema": OBJECT},
    {"name": "hang", "description": "Answer nothing any more.", "inputSchema": OBJECT},
    {"name": "write", "description": "Write lines to standard error.", "inputSchema": OBJECT},
]
_writing = threading.Lock()
_hanging = threading.Event()
_eaten: list[bytes] = []


def answer(number: object, result: dict[str, object]) -> None:
    """Write one result."""
    if not _hanging.is_set():
        with _writing:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}) + "\n")
            sys.stdout.flush()


def call(number: object, name: str, arguments: dict[str, object]) -> None:
    """Do what a tool does."""
    if name == "slow":
        time.sleep(float(str(arguments.get("seconds", 1))))
    elif name == "eat":
        _eaten.append(os.urandom(1024) * 1024 * int(str(arguments.get("mebibytes", 1))))
    elif name == "hang":
        _hanging.set()
    elif name == "write":
        for line in range(int(str(arguments.get("lines", 1)))):
            sys.stderr.write(f"{arguments.get('text', 'line')} {line}\n")
        sys.stderr.flush()
    text = json.dumps({"word": WORD, "pid": os.getpid()})
    answer(number, {"content": [{"type": "text", "text": text}], "isError": False})


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message.get("method"), message.get("params") or {}
        if "id" not in message:
            continue
        if method == "initialize":
            version = params.get("protocolVersion", "2025-11-25")
            info = {"name": "tiny", "version": WORD}
            answer(
                message["id"],
                {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info},
            )
        elif method == "tools/list":
            answer(message["id"], {"tools": TOOLS})
        elif method == "tools/call":
            arguments = params.get("arguments") or {}
            threading.Thread(
                target=call, args=(message["id"], params["name"], arguments), daemon=True
            ).start()
        elif method == "ping":
            answer(message["id"], {})
        else:
            with _writing:
                error = {"code": -32601, "message": "Method not found"}
                sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
