"""Revisions: what a deployment runs, and how one takes over from another."""

from enum import StrEnum
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments.config import DeploymentConfig, Driver


class RevisionCause(StrEnum):
    """Why a revision was made."""

    DEPLOY = "deploy"
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    RESTART = "restart"
    CHANGE = "change"
    """Other resources, or another driver."""


class RevisionState(StrEnum):
    """What became of a revision."""

    PENDING = "pending"
    """Its replicas are taking over."""
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    """Its replicas did not become healthy, or it was called off; the one before serves on."""


class RevisionContent(Contract):
    """What a revision runs; everything but the number of replicas is the same for all its life."""

    cause: RevisionCause
    version: str
    config_key: str
    driver: Driver
    config: DeploymentConfig
    author_id: UUID | None = None
    image: str | None = None
    """The image of an earlier revision, by its digest, where it is known already."""
    builds: bool = False
    """Whether an image has to be built before replicas can start."""


class Revision(RevisionContent):
    """A revision as it is stored."""

    deployment_id: UUID
    number: int
    state: RevisionState
    reason: str | None = None
    created_at: Moment
    ended_at: Moment | None = None


class Rollout(Contract):
    """How far a roll-out has come, or what came of it."""

    revision: int
    version: str
    cause: RevisionCause
    state: RevisionState
    replaced: int = 0
    """Places whose replica is of the new revision."""
    total: int = 0
    building: bool = False
    """Its image is being built; `deployments.build_task_id` of the answer is the task to follow."""
    reason: str | None = None
    started_at: Moment


class RevisionOutcome(Contract):
    """What became of a revision, for the record."""

    deployment_id: UUID
    number: int
    state: RevisionState
    reason: str | None = None
