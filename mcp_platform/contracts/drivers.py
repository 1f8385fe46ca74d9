"""Whether replicas can be run, as the workers see it."""

from mcp_platform.contracts.base import Contract


class DriverState(Contract):
    """What a worker last saw of what runs replicas."""

    trouble: str | None = None
    """Why no replica can be run; None if they can."""
    cpus: float | None = None
    """The cores of the machine, where that is known."""
    memory_bytes: int | None = None
