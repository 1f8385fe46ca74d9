"""A stdio server of one tool, of nothing but the standard library: as little as a replica can be."""

import json
import sys
from typing import Any

_TOOL = {"name": "echo", "inputSchema": {"type": "object"}}


def main() -> None:
    """Answer each line until there are no more."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        answer = {"jsonrpc": "2.0", "id": message["id"], **_answer(message)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params") or {}
    match message["method"]:
        case "initialize":
            return {
                "result": {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "tiny", "version": "1"},
                }
            }
        case "ping":
            return {"result": {}}
        case "tools/list":
            return {"result": {"tools": [_TOOL]}}
        case "tools/call":
            text = json.dumps(params.get("arguments"))
            return {"result": {"content": [{"type": "text", "text": text}]}}
        case method:
            return {"error": {"code": -32601, "message": f"no method {method}"}}


if __name__ == "__main__":
    main()
