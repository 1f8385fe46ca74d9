"""How a part of the platform fares, as those see it who work with it."""

from mcp_platform.contracts.base import Contract


class PartState(Contract):
    """What was last seen of a part."""

    healthy: bool
    detail: str | None = None
    """What is wrong with it."""
