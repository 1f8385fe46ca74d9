"""How an MCP is to run: the wish, as users write it."""

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StrictBool, model_validator

from mcp_platform.contracts.base import Order
from mcp_platform.contracts.resources import Resources


class Driver(StrEnum):
    """What runs a replica."""

    PROCESS = "process"
    """A child process behind `runner`."""
    DOCKER = "docker"
    """A container on the worker's Docker engine."""
    SWARM = "swarm"
    """A service of one task on a Docker Swarm, on whichever node it places it."""
    REMOTE = "remote"
    """Somebody else's server at a URL: watched, never started."""


class HealthCheck(Order):
    """How the replicas of one deployment are checked; times in seconds, the platform's own unless given."""

    interval: Annotated[float, Field(ge=0.2, le=3600)] | None = None
    timeout: Annotated[float, Field(ge=0.1, le=300)] | None = None
    failures_allowed: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many checks in a row may fail before a replica is replaced."""
    patience: Annotated[float, Field(ge=1, le=1800)] | None = None
    """How long a new replica may take until it answers."""


class Autoscaling(Order):
    """Between how many replicas, and by what; times in seconds."""

    min: Annotated[int, Field(ge=1, le=100)] = 1
    max: Annotated[int, Field(ge=1, le=100)]
    calls_in_flight: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """How many calls one replica should have in flight."""
    latency_ms: Annotated[float, Field(gt=0, le=3_600_000)] | None = None
    """How long calls should take at most, on average."""
    cool_down: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How long after a change the number of replicas stays as it is."""
    idle_after: Annotated[float, Field(ge=1, le=604_800)] | None = None
    """After how long without a call it is scaled to zero; never unless given."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        if self.max > self.min and self.calls_in_flight is None and self.latency_ms is None:
            raise ValueError("give calls_in_flight or latency_ms: what the number of replicas follows")
        return self


class DeploymentConfig(Order):
    """The wish: how many replicas of which server, and where."""

    environment: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "production"
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    server: str | None = None
    """Which of `config.servers`; may be left out where there is only one."""
    driver: Driver | None = None
    """What runs the replicas; the platform's default for this kind of server unless given."""
    egress: StrictBool = True
    """Whether a container may open connections to other machines."""
    health: HealthCheck = HealthCheck()
    autoscaling: Autoscaling | None = None
    drain_timeout: Annotated[float, Field(ge=0, le=3600)] | None = None
    """How many seconds calls in flight may take to finish before their replica is ended."""


class CreateDeployment(Order):
    """Body of `POST /deployments`."""

    tool_id: UUID
    config: DeploymentConfig = DeploymentConfig()


class ScaleDeployment(Order):
    """What a deployment's workflow is asked to change without a new revision; what is None stays."""

    replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    health: HealthCheck | None = None
    autoscaling: Autoscaling | None = None
    fixed: bool = False
    """End the autoscaling."""
