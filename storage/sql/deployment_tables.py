"""The tables of deployments: wishes, revisions, replicas, and what was measured."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Double, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mcp_platform.contracts.deployments import (
    DeploymentState,
    Driver,
    Health,
    ReplicaState,
    RevisionCause,
    RevisionState,
)
from storage.sql.base import MYSQL_OPTIONS, Base
from storage.sql.types import ClippedText, JsonText


class DeploymentRow(Base):
    """A deployment. `active_slug` is the slug until it is stopped: unique, so there is one at a time."""

    __tablename__ = "deployments"
    __table_args__ = (Index(None, "deployed_at", "id"), MYSQL_OPTIONS)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mcp_id: Mapped[UUID] = mapped_column(index=True)
    slug: Mapped[str] = mapped_column(String(100))
    active_slug: Mapped[str | None] = mapped_column(String(100), unique=True)
    tool_name: Mapped[str]
    version: Mapped[str] = mapped_column(String(64))
    owner_id: Mapped[UUID]
    driver: Mapped[Driver]
    config: Mapped[dict[str, Any]] = mapped_column(JsonText)
    config_key: Mapped[str]
    status: Mapped[DeploymentState] = mapped_column(index=True)
    health_status: Mapped[Health]
    reason: Mapped[str | None] = mapped_column(ClippedText)
    revision: Mapped[int] = mapped_column(server_default="1")
    rollout: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    deployed_at: Mapped[datetime]
    reported_at: Mapped[datetime | None] = mapped_column(index=True)
    """When its status was last written; None: not since it was deployed."""
    stopped_at: Mapped[datetime | None]
    requests_total: Mapped[int] = mapped_column(BigInteger)
    errors_total: Mapped[int] = mapped_column(BigInteger)
    latency_ms_total: Mapped[float] = mapped_column(Double)


class RevisionRow(Base):
    """What a deployment runs, or ran, or was to run."""

    __tablename__ = "deployment_revisions"

    deployment_id: Mapped[UUID] = mapped_column(
        ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cause: Mapped[RevisionCause]
    version: Mapped[str] = mapped_column(String(64))
    config_key: Mapped[str] = mapped_column(index=True)
    driver: Mapped[Driver]
    config: Mapped[dict[str, Any]] = mapped_column(JsonText)
    author_id: Mapped[UUID | None]
    image: Mapped[str | None]
    builds: Mapped[bool]
    state: Mapped[RevisionState]
    reason: Mapped[str | None] = mapped_column(ClippedText)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ReplicaRow(Base):
    """One running copy, or one that ran."""

    __tablename__ = "replicas"
    __table_args__ = (Index(None, "deployment_id", "state"), MYSQL_OPTIONS)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    revision: Mapped[int] = mapped_column(server_default="1")
    state: Mapped[ReplicaState] = mapped_column(index=True)
    url: Mapped[str | None] = mapped_column(String(2048))
    pid: Mapped[int | None]
    container: Mapped[str | None]
    restarts: Mapped[int]
    reason: Mapped[str | None] = mapped_column(ClippedText)
    stderr_tail: Mapped[list[str]] = mapped_column(JsonText)
    started_at: Mapped[datetime]


class ReplicaOverrideRow(Base):
    """What an operator wishes of the replica in one place, whichever stands there."""

    __tablename__ = "replica_overrides"

    deployment_id: Mapped[UUID] = mapped_column(
        ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    weight: Mapped[float] = mapped_column(Double)
    offline: Mapped[bool]


class FigureRow(Base):
    """What was counted and measured within a span of time, of one replica or of a whole deployment.

    The key leads a chart to its rows. `span` is 60 or 900 seconds, or 0 for all time, which `begins`
    at 0. `replica_id` is the deployment's own id in the rows of the whole, which hold calls only.
    """

    __tablename__ = "deployment_figures"

    deployment_id: Mapped[UUID] = mapped_column(primary_key=True)
    span: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begins: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    replica_id: Mapped[UUID] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    latency_ms: Mapped[float] = mapped_column(Double)
    histogram: Mapped[dict[str, int] | None] = mapped_column(JsonText)
    seconds: Mapped[float] = mapped_column(Double)
    """For how much of the span the replica was seen to answer."""
    cpu_seconds: Mapped[float] = mapped_column(Double)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    restarts: Mapped[int | None]
    """Within the span; for all time, the highest that was seen, and None until it was."""
