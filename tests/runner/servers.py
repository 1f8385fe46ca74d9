"""A stdio MCP server that misbehaves as it is told: `python servers.py KIND`. No dependencies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_LOCK = threading.Lock()

TOOLS = [
    {
        "name": name,
        "description": f"The tool {name}.",
        "inputSchema": {"type": "object", "properties": {}, "x-vendor-schema": True},
        "x-vendor": {"kept": ["as", "it", "is"]},
    }
    for name in ("echo", "fail", "text", "plain", "blocks", "slow", "progress", "die", "pid", "ask", "change")
]


def say(message: dict[str, Any]) -> None:
    """Write one message."""
    if sys.argv[1] == "modern" and "result" in message:
        envelope = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        message["result"] = {**envelope, **message["result"]}
    with _LOCK:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def text(value: str, **more: Any) -> dict[str, Any]:
    """Give a result of one text block."""
    return {"content": [{"type": "text", "text": value}], "x-vendor-result": {"n": 1}, **more}


def call(number: Any, params: dict[str, Any]) -> None:
    """Answer a tool call."""
    name, arguments = params["name"], params.get("arguments") or {}
    if name == "slow":
        time.sleep(float(arguments.get("seconds", 0.2)))
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "progress":
        report_progress(params)
    if name == "ask":
        say({"jsonrpc": "2.0", "id": "q1", "method": "sampling/createMessage", "params": {}})
    if name == "change":
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    if name not in {tool["name"] for tool in TOOLS}:
        say({"jsonrpc": "2.0", "id": number, "result": text(f"Unknown tool: {name}", isError=True)})
        return
    results = {
        "echo": text(json.dumps(arguments), structuredContent=arguments),
        "fail": text("it went wrong", isError=True),
        "text": text('{"a": 1}'),
        "plain": text("not JSON"),
        "pid": text(str(os.getpid())),
        "blocks": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    }
    say({"jsonrpc": "2.0", "id": number, "result": results.get(name, text(name))})


def report_progress(params: dict[str, Any]) -> None:
    """Send three steps of progress under the caller's token."""
    token = (params.get("_meta") or {}).get("progressToken")
    for step in (1, 2, 3):
        progress = {"progressToken": token, "progress": step, "total": 3, "x-vendor": step}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})


def open_session(kind: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Answer the question that opens a session, if this server takes it."""
    if method == "initialize" and kind != "modern":
        version = params.get("protocolVersion", LEGACY)
        return {
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": True}, "logging": {}},
            "serverInfo": {"name": f"fixture-{kind}", "version": "1"},
            "x-vendor-init": True,
        }
    if method == "server/discover" and kind == "modern":
        return {
            "supportedVersions": [MODERN],
            "capabilities": {"tools": {}},
        }
    return None


def serve(kind: str) -> None:
    """Answer requests until the input ends."""
    answers: list[Any] = []
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method is None or method == "notifications/cancelled":
            answers.append(message)
        if number is None or method is None:
            continue
        opened = open_session(kind, method, params)
        if opened is not None:
            say({"jsonrpc": "2.0", "id": number, "result": opened})
        elif method == "tools/list":
            say({"jsonrpc": "2.0", "id": number, "result": {"tools": TOOLS}})
        elif method == "tools/call":
            threading.Thread(target=call, args=(number, params), daemon=True).start()
        elif method == "initialize":
            # So the runner asks a modern server again that was slow to start.
            error = {"code": -32022, "message": "Unsupported protocol version", "data": [MODERN]}
            say({"jsonrpc": "2.0", "id": number, "error": error})
        elif method == "fixture/answers":
            say({"jsonrpc": "2.0", "id": number, "result": {"answers": answers}})
        else:
            error = {"code": -32601, "message": "Method not found", "data": method}
            say({"jsonrpc": "2.0", "id": number, "error": error})


def main() -> None:
    """Do what the first argument says."""
    kind = sys.argv[1]
    if kind == "exit":
        sys.stderr.write("cannot start: no configuration\n")
        sys.exit(7)
    if kind == "once" and "MCP_RUNNER_SESSION" in os.environ:
        sys.exit(7)
    if kind == "mute":
        time.sleep(600)
    if kind == "flood":
        flood = threading.Thread(target=write_noise, daemon=True)
        flood.start()
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "family":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
    serve("modern" if kind == "modern" else "legacy")
    if kind == "stubborn":
        time.sleep(600)


def write_noise() -> None:
    """Write what is not MCP, without end: 40 MB to each output, one line of it very long."""
    for _ in range(400):
        sys.stderr.write("noise " * 16_000 + "\n")
        with _LOCK:
            sys.stdout.write("this is no JSON " * 6_000 + "\n")


if __name__ == "__main__":
    main()
