"""What a replica may use, in Kubernetes' notation."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from mcp_platform.contracts.base import Order

_CPU: Final = re.compile(r"(\d{1,6})m|(\d{1,4}(?:\.\d{1,3})?)")
_MEMORY: Final = re.compile(r"(\d{1,15})(Ki|Mi|Gi)?")
_UNITS: Final = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_LEAST_CPU: Final = 0.01
_LEAST_MEMORY: Final = 6 * 2**20
"""Docker's own least."""


def cpu_cores(value: str) -> float:
    """Give the number of cores that `500m` or `0.5` stands for.

    Raises:
        ValueError: It is neither.
    """
    match = _CPU.fullmatch(value)
    if match is None:
        raise ValueError("is no amount of CPU; write thousandths of a core (500m) or cores (0.5)")
    cores = int(match[1]) / 1000 if match[1] else float(match[2])
    if cores < _LEAST_CPU:
        raise ValueError(f"is too little: a replica needs {_LEAST_CPU * 1000:.0f}m of CPU at least")
    return cores


def memory_bytes(value: str) -> int:
    """Give the number of bytes that `512Mi`, `1Gi` or `1048576` stands for.

    Raises:
        ValueError: It is none of them.
    """
    match = _MEMORY.fullmatch(value)
    if match is None:
        raise ValueError("is no amount of memory; write bytes, Ki, Mi or Gi, such as 512Mi or 1Gi")
    size = int(match[1]) * _UNITS[match[2]]
    if size < _LEAST_MEMORY:
        raise ValueError("is too little: a replica needs 6Mi of memory at least")
    return size


def checked_cpu(value: str) -> str:
    """Give it back if it is an amount of CPU."""
    cpu_cores(value)
    return value


def checked_memory(value: str) -> str:
    """Give it back if it is an amount of memory."""
    memory_bytes(value)
    return value


class Resources(Order):
    """What a replica may use; the process driver does not enforce it."""

    cpu: Annotated[str, AfterValidator(checked_cpu)] | None = None
    memory: Annotated[str, AfterValidator(checked_memory)] | None = None

    @property
    def cores(self) -> float | None:
        """The CPU in cores."""
        return cpu_cores(self.cpu) if self.cpu else None

    @property
    def bytes(self) -> int | None:
        """The memory in bytes."""
        return memory_bytes(self.memory) if self.memory else None
