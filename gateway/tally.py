"""How busy one deployment is, as this gateway sees it: counted at each call, so it must cost nothing."""

import time
from collections import deque
from typing import Final
from uuid import UUID

from mcp_platform.contracts.loads import DeploymentLoad

WINDOW: Final = 5
"""Seconds that the figures of calls which ended look back."""


class Tally:
    """Counts the calls of one deployment."""

    def __init__(self) -> None:
        self.waiting = 0
        """Calls that wait for a replica."""
        self._in_flight = 0
        self._last = time.monotonic()
        self._seconds: deque[tuple[int, int, float]] = deque()
        """For each second in which calls ended: which, how many, and how long they took together."""

    def begin(self) -> None:
        """Note that a call came."""
        self._in_flight += 1

    def end(self, now: float) -> None:
        """Note that it ended."""
        self._in_flight -= 1
        self._last = now

    def touch(self) -> None:
        """Count idleness from now on."""
        self._last = time.monotonic()

    def took(self, seconds: float, now: float) -> None:
        """Note how long a replica took for a call; what the call waited before does not count."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, calls, total = self._seconds[-1]
            self._seconds[-1] = (second, calls + 1, total + seconds)
        else:
            self._forget(second)
            self._seconds.append((second, 1, seconds))

    def load(self, deployment_id: UUID) -> DeploymentLoad:
        """Give the figures."""
        now = time.monotonic()
        self._forget(int(now))
        calls = sum(calls for _, calls, _ in self._seconds)
        took = sum(took for _, _, took in self._seconds)
        busy = self._in_flight or self.waiting
        return DeploymentLoad(
            deployment_id=deployment_id,
            in_flight=self._in_flight - self.waiting,
            waiting=self.waiting,
            calls=calls,
            latency_ms=took / calls * 1000 if calls else 0.0,
            idle=0.0 if busy else now - self._last,
        )

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW:
            self._seconds.popleft()
