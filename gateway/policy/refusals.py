"""What callers are told of calls that a policy does not let through."""

from typing import Any

from mcp_platform.errors import NotFound, PlatformError, ToolQuarantined
from mcp_platform.wire import INVALID_PARAMS, INVALID_REQUEST, Era, RpcError, translate_result


class Refusal(RpcError):
    """A call that a policy refused: an MCP client's error, and in `error` that of plain REST."""

    def __init__(self, code: int, message: str, error: PlatformError, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.error = error


def unknown_tool(tool: str) -> Refusal:
    """Answer as if there were no such tool (MCP 2025-11-25 and 2026-07-28, tools: error handling)."""
    return Refusal(INVALID_PARAMS, f"Unknown tool: {tool}", NotFound("tool", tool))


def quarantined(tool: str, *, returning: bool) -> Refusal:
    """Say that the tool is not as it was pinned, or not yet at all replicas."""
    error = ToolQuarantined(tool, returning=returning)
    return Refusal(INVALID_REQUEST, str(error), error, {"error_code": error.code, **error.fields})


def invalid_arguments(tool: str, problems: list[str], era: Era) -> dict[str, Any]:
    """Say what is wrong with a call's arguments.

    As a result, not as an error: models see results and can correct themselves (MCP 2025-11-25 and
    2026-07-28, tools: input validation errors are tool execution errors).
    """
    lines = [f"Invalid arguments for the tool {tool!r}:", *(f"- {problem}" for problem in problems)]
    return failed_result("\n".join(lines), era)


def failed_result(text: str, era: Era) -> dict[str, Any]:
    """Make a tool's result that says that it failed."""
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return translate_result("tools/call", result, Era.LEGACY, era)
