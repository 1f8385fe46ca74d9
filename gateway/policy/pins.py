"""Pinned tools of one MCP: what was pinned, and where something else was seen."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from mcp_platform.contracts.policies import Pin, definition_digest


class Pins:
    """The pins of one MCP, and what this process found out about its replicas under them."""

    def __init__(self, pins: Sequence[Pin]) -> None:
        self._pins = {pin.tool: pin for pin in pins}
        self._quarantined = {pin.tool for pin in pins if pin.quarantined}
        self._former = {pin.tool: pin.former_digest for pin in pins}
        self._left: dict[UUID | None, set[str]] = {}
        """By replica, and None for what a list shows: tools that are offered there as pinned before."""
        self.seen: set[UUID] = set()
        """Replicas whose definitions were compared; whatever differed is quarantined."""
        self.generation = 0
        """How often that was found to be out of date."""

    def __contains__(self, tool: object) -> bool:
        """Tell whether the tool is pinned."""
        return tool in self._pins

    def quarantined(self, tool: str) -> bool:
        """Tell whether the tool is hidden: another definition was seen, or the former one is offered."""
        return tool in self._quarantined or self.returning(tool)

    def returning(self, tool: str) -> bool:
        """Tell whether the tool is hidden only while a replica offers it as it was pinned before."""
        if not self._left or tool in self._quarantined:
            return False
        return any(tool in tools for tools in self._left.values())

    @property
    def listed_formerly(self) -> bool:
        """Whether a list shows a tool as it was pinned before."""
        return None in self._left

    def read_anew(self, replica_id: UUID | None) -> None:
        """Take note that all tools are about to be compared that are offered there."""
        self._left.pop(replica_id, None)

    def forget_others(self, replica_ids: Iterable[UUID]) -> None:
        """Go no more by what replicas offered that are gone."""
        for replica_id in self._left.keys() - {*replica_ids, None}:
            del self._left[replica_id]

    def look_again(self) -> None:
        """Have all replicas compared anew."""
        self.seen.clear()
        self.generation += 1

    def compare(
        self, offered: Iterable[tuple[str, dict[str, Any]]], replica_id: UUID | None
    ) -> list[tuple[Pin, dict[str, Any]]]:
        """Quarantine each tool that is offered by another definition; give those that nobody knew of.

        The definition that was pinned before hides its tool for as long as it is offered there.
        """
        found = []
        left = self._left.pop(replica_id, set())
        for tool, definition in offered:
            pin = self._pins.get(tool)
            left.discard(tool)
            digest = definition_digest(definition) if pin is not None else None
            if pin is None or digest == pin.digest:
                continue
            if digest == self._former[tool]:
                left.add(tool)
                continue
            self._quarantined.add(tool)
            if not pin.quarantined:
                found.append((pin, definition))
        if left:
            self._left[replica_id] = left
        return found
