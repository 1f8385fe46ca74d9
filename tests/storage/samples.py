"""Contracts to store, each with what a test wants different."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from mcp_platform.contracts.access import ApiKey, Role, User
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    DeploymentReport,
    DeploymentState,
    Driver,
    Health,
    Replica,
    ReplicaState,
    RevisionCause,
    RevisionContent,
)
from mcp_platform.contracts.mcps import Mcp, McpStatus
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.security.tokens import RefreshClaims
from storage.sql.access import UserRepository
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database, WriteSession
from storage.sql.mcps import McpRepository

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def user(**changes: Any) -> User:
    """Describe a developer."""
    name = f"user-{uuid4().hex[:8]}"
    values = {
        "id": uuid4(),
        "username": name,
        "email": f"{name}@example.com",
        "role": Role.DEVELOPER,
        "is_active": True,
        "created_at": NOON,
    }
    return User.model_validate(values | changes)


def claims(user_id: UUID, **changes: Any) -> RefreshClaims:
    """Describe a refresh token."""
    return replace(RefreshClaims(uuid4(), uuid4(), user_id, NOON + timedelta(days=7)), **changes)


def api_key(**changes: Any) -> ApiKey:
    """Describe an API key."""
    values = {"id": uuid4(), "name": "ci", "prefix": "mcp_abcd", "created_at": NOON}
    return ApiKey.model_validate(values | changes)


def mcp(**changes: Any) -> Mcp:
    """Describe an MCP."""
    values = {
        "id": uuid4(),
        "name": "Time",
        "slug": f"time-{uuid4().hex[:8]}",
        "description": "Tells the time",
        "version": "1.0.0",
        "author_id": uuid4(),
        "status": McpStatus.DRAFT,
        "config_key": "config-1",
        "revision": 1,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Mcp.model_validate(values | changes)


def task(**changes: Any) -> TaskRecord:
    """Describe a task."""
    values = {
        "task_id": str(uuid4()),
        "kind": TaskKind.FEASIBILITY,
        "owner_id": uuid4(),
        "status": TaskState.PENDING,
        "created_at": NOON,
    }
    return TaskRecord.model_validate(values | changes)


def deployment(of: Mcp, **changes: Any) -> Deployment:
    """Describe a deployment of this MCP."""
    values = {
        "id": uuid4(),
        "mcp_id": of.id,
        "slug": of.slug,
        "tool_name": of.name,
        "version": of.version,
        "owner_id": uuid4(),
        "driver": Driver.PROCESS,
        "config": DeploymentConfig(replicas=2),
        "config_key": of.config_key,
        "status": DeploymentState.STARTING,
        "health_status": Health.UNKNOWN,
        "deployed_at": NOON,
    }
    return Deployment.model_validate(values | changes)


def content(of: Deployment, **changes: Any) -> RevisionContent:
    """Describe what this deployment runs."""
    values = {
        "cause": RevisionCause.DEPLOY,
        "version": of.version,
        "config_key": of.config_key,
        "driver": of.driver,
        "config": of.config,
    }
    return RevisionContent.model_validate(values | changes)


async def add_deployment(session: WriteSession, new: Deployment) -> None:
    """Store a deployment with its first revision."""
    await DeploymentRepository(session).add(new, content(new))


def report(on: Deployment, **changes: Any) -> DeploymentReport:
    """Describe what was found to be true of this deployment: all is well."""
    values = {
        "deployment_id": on.id,
        "slug": on.slug,
        "status": DeploymentState.RUNNING,
        "health_status": Health.HEALTHY,
        "replicas": 2,
        "healthy": 2,
    }
    return DeploymentReport.model_validate(values | changes)


def replica(of: Deployment, **changes: Any) -> Replica:
    """Describe a healthy replica of this deployment."""
    values = {
        "id": uuid4(),
        "deployment_id": of.id,
        "ordinal": 0,
        "state": ReplicaState.HEALTHY,
        "url": "http://127.0.0.1:9000/mcp",
        "pid": 4711,
        "started_at": NOON,
    }
    return Replica.model_validate(values | changes)


async def stored_user(database: Database, **changes: Any) -> User:
    """Store an account."""
    new = user(**changes)
    async with database.write() as session:
        await UserRepository(session).add(new, "hash")
    return new


async def stored_mcp(database: Database, **changes: Any) -> Mcp:
    """Store an MCP."""
    new = mcp(**changes)
    async with database.write() as session:
        await McpRepository(session).add(new, new.author_id)
    return new


async def stored_deployment(database: Database, **changes: Any) -> Deployment:
    """Store a deployment of an MCP of its own."""
    of = await stored_mcp(database)
    new = deployment(of, **changes)
    async with database.write() as session:
        await DeploymentRepository(session).add(new, content(new))
    return new
