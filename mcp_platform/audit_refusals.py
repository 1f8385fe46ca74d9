"""How many refusals the audit log is told of: whoever floods us must not flood the log."""

import time
from collections import OrderedDict
from typing import Final

_EVERY: Final = 60.0
_MOST_COUNTED: Final = 10_000


class Refusals:
    """Counts refusals, of which the log gets the first of each minute by who, from where and what."""

    def __init__(self) -> None:
        self._counted: OrderedDict[tuple[str, str, str], tuple[float, int]] = OrderedDict()

    def count(self, credential: str, address: str, action: str) -> int | None:
        """Count one; None if it is not to be recorded, else how many were not since the last that was."""
        key = (credential, address, action)
        now = time.monotonic()
        recorded_at, left_out = self._counted.pop(key, (-_EVERY, 0))
        due = now - recorded_at >= _EVERY
        self._counted[key] = (now, 0) if due else (recorded_at, left_out + 1)
        while len(self._counted) > _MOST_COUNTED:
            self._counted.popitem(last=False)
        return left_out if due else None
