"""How busy deployments are: what gateways report about every second, and what autoscaling makes of it."""

from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments import Autoscaling


class DeploymentLoad(Contract):
    """What one gateway sees of one deployment's calls."""

    deployment_id: UUID
    in_flight: int = 0
    waiting: int = 0
    """Calls that wait for a replica: for one that wakes, or for a successor of those that just went."""
    calls: int = 0
    """Calls that ended within the last seconds (`LoadReport.window`)."""
    latency_ms: float = 0.0
    """How long these took, on average."""
    idle: float = 0.0
    """Seconds since the last call came or ended, or since there were replicas; 0 while a call is in flight
    or waits, and while there is no replica."""


class Pool(Contract):
    """The connections of one gateway process to servers."""

    open: int = 0
    idle: int = 0
    """Of these: how many carry nothing now."""
    most: int = 0
    """How many there may be."""


class LoadReport(Contract):
    """What one gateway process says of itself.

    It names a replica before it sends it anything, and until it neither routes to it nor has a call
    in flight there. So a replica that no report names has no calls, and gets none.
    """

    gateway_id: str
    window: float
    """Seconds that `calls` and `latency_ms` look back."""
    replicas: dict[UUID, int] = {}
    """Requests in flight, for each replica that it routes to or that still has some."""
    deployments: list[DeploymentLoad] = []
    """All that it routes to."""
    pool: Pool = Pool()
    started_at: Moment | None = None


class ObserveOrder(Contract):
    """What the autoscaling of one deployment goes by; times in seconds."""

    deployment_id: UUID
    replicas: int
    """How many are wished now; 0 while asleep."""
    autoscaling: Autoscaling
    cool_down_left: float = 0.0
    """How long the number has to stay as it is; waking is exempt."""
    asleep: bool = False


class ScaleDecision(Contract):
    """How many replicas there should be: never as many as the order said."""

    replicas: int
    """0: sleep until the next call."""
    reason: str
