"""Answers that several rooms give."""

from uuid import UUID

from mcp_platform.contracts.base import Contract


class Deleted(Contract):
    """Something was removed."""

    message: str
    id: UUID


class Message(Contract):
    """Something was done."""

    message: str


def pages(total: int, page_size: int) -> int:
    """How many pages a list has; an empty one has none."""
    return -(-total // page_size)
