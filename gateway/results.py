"""A tool's result, as plain REST and executions see it."""

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered; `raw` is the result as the server sent it."""

    raw: dict[str, Any]

    @property
    def is_error(self) -> bool:
        """Whether the tool says that it failed."""
        return self.raw.get("isError") is True

    @property
    def content(self) -> list[Any]:
        """The content blocks."""
        content = self.raw.get("content")
        return content if isinstance(content, list) else []

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return "\n".join(text for text in map(_text, self.content) if text is not None)

    @property
    def value(self) -> Any:
        """The result as JSON.

        The structured content where there is any; else the one text block, read as JSON where it is
        JSON, and as `{"text": …}` otherwise; else all blocks as `{"content": […]}`.
        """
        structured = self.raw.get("structuredContent")
        if structured is not None:
            return structured
        text = _text(self.content[0]) if len(self.content) == 1 else None
        if text is None:
            return {"content": self.content}
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return {"text": text}


def _text(block: Any) -> str | None:
    if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    return None
