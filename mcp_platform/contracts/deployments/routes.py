"""What the gateway derives from deployments, and counts for them."""

from uuid import UUID

from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.deployments.config import Driver


class UpstreamAddress(Contract):
    """A replica, seen from the gateway."""

    replica_id: UUID
    url: str
    driver: Driver
    server: str | None = None
    """For a remote server: its name in the configuration, whose headers the gateway sends."""
    config_key: str | None = None
    """For a remote server: the configuration that names it."""


class Route(Contract):
    """Where the gateway sends calls for a slug. No upstreams: deployed, and none healthy."""

    slug: str
    mcp_id: UUID
    deployment_id: UUID
    version: str = ""
    """Of the MCP."""
    upstreams: list[UpstreamAddress]
    weights: dict[UUID, float] = {}
    """By replica: how much of the calls it gets against the others, where it is not 1."""
    asleep: bool = False
    """Scaled to zero: a call has to wake it."""
    wished: int = 0
    """How many replicas there are to be."""
    offline: int = 0
    """How many healthy replicas an operator took out of rotation."""


class CallFigures(Contract):
    """What the gateway counted for one deployment since it last wrote."""

    deployment_id: UUID
    requests: int
    errors: int
    latency_ms: float
