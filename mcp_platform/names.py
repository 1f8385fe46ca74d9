"""Names that more than one room must spell alike: queues, channels, ids, reserved words."""

from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import UUID


class TaskQueue(StrEnum):
    """Temporal task queues, one for each way of failing."""

    ORCHESTRATION = "orchestration"
    """Workflows and their short activities."""
    REPLICAS = "replicas"
    """Activities that start, watch and end replicas; long-running, one for each replica."""


class Channel(StrEnum):
    """Redis pub/sub channels; every message is JSON."""

    ROUTES = "mcp-platform.routes"
    """`{"slug": str}`: the routes of this slug changed."""
    CREDENTIALS = "mcp-platform.credentials"
    """Any object: an account, a role, a session or an API key changed; who keeps such reads it anew."""
    EVENTS = "mcp-platform.events"
    """`contracts.events.Event`: something that live listeners want to know."""
    CHANGES = "mcp-platform.changes"
    """`{"kind": str, "key": str}`: what the read cache keeps under this key is not true any more."""
    KNOWLEDGE = "mcp-platform.knowledge"
    """`{"document_id": str}`: this document's passages changed, or it is gone."""


class RouteClass(StrEnum):
    """Classes of routes, each of which has rate limits of its own."""

    SIGN_IN = "sign-in"
    """What proves who one is: register, sign in, refresh."""
    READ = "read"
    WRITE = "write"
    CALL = "call"
    """Calls of tools, and all else beneath `/mcp`."""


RESERVED_SLUGS: Final = frozenset(
    {"admin", "api", "bridge", "group", "groups", "health", "mcp", "metrics", "smart", "v1", "well-known"}
)
"""Slugs that are, or will be, parts of paths beneath `/mcp`."""

REPLICA_MARKER: Final = "MCP_PLATFORM_REPLICA"
"""Environment variable that marks every process of a replica: `<instance>/<replica id>`."""

RECONCILE_SCHEDULE: Final = "reconcile"
"""Id of the schedule, and prefix of its workflows, that compares records with the truth."""
SWEEP_SCHEDULE: Final = "sweep"
"""The same for the one that removes what nothing points to."""


def deployment_workflow_id(deployment_id: UUID) -> str:
    """Give the id of the workflow that owns a deployment; it doubles as the deployment's task id."""
    return f"deployment-{deployment_id}"


def indexing_workflow_id(document_id: UUID) -> str:
    """Give the id of the workflow that indexes a document; it doubles as its task's id."""
    return f"index-document-{document_id}"


def reembed_workflow_id(model: str) -> str:
    """Give the id of the workflow that embeds the knowledge base with this model.

    Each model has its own, so that one that never answers is not in the way of the next.
    """
    return f"reembed-knowledge-{quote(model, safe=':')[:200]}"


class Collection(StrEnum):
    """Collections of immutable documents, each with a key of its own."""

    CONFIGS = "mcp_configs"
    """An MCP's configuration; `mcp_versions.config_key` points here."""
    IDEAS = "ideas"
    """What a feasibility analysis was asked to judge."""
    RESULTS = "task_results"
    """What came of a task; `tasks.result_key` points here."""
    KNOWLEDGE = "knowledge"
    """The text of a document of the knowledge base; `knowledge_documents.content_key` points here."""
