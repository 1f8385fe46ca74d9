"""Sums over the last seconds, at the cost of a few additions."""

from typing import Final

_PARTS: Final = 10


class Window:
    """What was counted lately; it forgets a tenth of its span at a time."""

    __slots__ = ("_at", "_parts", "_width", "calls", "failures", "seconds")

    def __init__(self, span: float) -> None:
        self.calls = 0
        self.failures = 0
        self.seconds = 0.0
        """How long the calls took together."""
        self._width = span / _PARTS
        self._at = 0
        self._parts: list[tuple[int, int, float]] = [(0, 0, 0.0)] * _PARTS

    def note(self, now: float, failed: bool = False, seconds: float = 0.0) -> None:
        """Count one call that ended now."""
        at = int(now / self._width)
        if at != self._at:
            self._forget(at)
        self.calls += 1
        self.seconds += seconds
        self.failures += failed
        calls, failures, total = self._parts[at % _PARTS]
        self._parts[at % _PARTS] = (calls + 1, failures + failed, total + seconds)

    def turn(self, now: float) -> None:
        """Forget what is too old by now."""
        at = int(now / self._width)
        if at != self._at:
            self._forget(at)

    def clear(self) -> None:
        """Forget everything."""
        self.calls = self.failures = 0
        self.seconds = 0.0
        self._parts = [(0, 0, 0.0)] * _PARTS

    @property
    def error_rate(self) -> float:
        """The share of calls that failed."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def latency(self) -> float:
        """Seconds that a call took on average."""
        return self.seconds / self.calls if self.calls else 0.0

    def _forget(self, at: int) -> None:
        steps, self._at = at - self._at, at
        if not 0 < steps < _PARTS:
            self.clear()
            return
        for part in range(at - steps + 1, at + 1):
            calls, failures, seconds = self._parts[part % _PARTS]
            self._parts[part % _PARTS] = (0, 0, 0.0)
            self.calls -= calls
            self.failures -= failures
            self.seconds -= seconds
        if not self.calls:
            self.seconds = 0.0  # what rounding left
