"""What of a definition is judged."""

from typing import Any, Final

from mcp_platform.contracts.analysis import LONGEST_IDEA

_LONGEST_NAME: Final = 255


def idea_of(name: str, description: str, config: dict[str, Any]) -> dict[str, Any]:
    """Give a definition as the feasibility analysis takes it."""
    parts = {part: config[part] for part in ("servers", "tools") if config.get(part)}
    return {"name": name[:_LONGEST_NAME], "description": description[:LONGEST_IDEA], **parts}
