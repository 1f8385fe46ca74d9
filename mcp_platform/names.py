"""Names that more than one room must spell alike: queues, channels, ids, reserved words."""

from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import UUID, uuid5


class TaskQueue(StrEnum):
    """Temporal task queues, one for each way of failing."""

    ORCHESTRATION = "orchestration"
    """Workflows and their short activities."""
    REPLICAS = "replicas"
    """Activities that start, watch and end replicas; long-running, one for each replica."""
    BUILDS = "builds"
    """Building images: minutes of work for the engine, a few at a time."""
    MODELS = "models"
    """Asking language models: slow, limited by their providers, and paid for."""


class Channel(StrEnum):
    """Redis pub/sub channels; every message is JSON."""

    ROUTES = "mcp-platform.routes"
    """`{"slug": str}`: the routes of this slug changed."""
    AUTHORIZATIONS = "mcp-platform.authorizations"
    """`{"mcp_id": str}`: the platform's tokens for this MCP's remote servers changed."""
    POLICIES = "mcp-platform.policies"
    """`{"mcp_id": str}`: this MCP's policy or pins changed. With `ask` and the id of a question: what its
    servers offer is to be told (see `storage.cache.definitions`)."""
    CREDENTIALS = "mcp-platform.credentials"
    """Any object: an account, a role, a session or an API key changed; who keeps such reads it anew."""
    EVENTS = "mcp-platform.events"
    """`contracts.events.Event`: something that live listeners want to know."""
    CHANGES = "mcp-platform.changes"
    """`{"kind": str, "key": str}`: what the read cache keeps under this key is not true any more."""
    TROUBLE = "mcp-platform.trouble"
    """`{"replica_id": str, "kind": str}`: a call to this replica found it unreachable, broken or too slow."""
    WAKE = "mcp-platform.wake"
    """`{"deployment_id": str}`: somebody calls a deployment that is scaled to zero."""
    QUESTIONS = "mcp-platform.questions"
    """`{"id": str, "kind": str, "body": object}`: what only gateways know; see `storage.cache.questions`."""
    GROUPS = "mcp-platform.groups"
    """`{"group_id": str}`: this group, or what belongs to it, changed."""
    SESSIONS = "mcp-platform.sessions"
    """Of sessions of MCP clients, for whichever gateway process holds their streams and requests:
    `{"changed": id}`, `{"ended": id}`, `{"cancel": id, "request": id}`, `{"session": id, "answer": {…}}`;
    of calls that wait for their client: `{"round": state, "reply": id, …}`, `{"reply": id, …}`."""
    KNOWLEDGE = "mcp-platform.knowledge"
    """`{"document_id": str}`: this document's passages changed, or it is gone."""
    RUNNING_SETTINGS = "mcp-platform.running-settings"
    """`{"name": str}`: what is set under this name while the platform runs was changed."""
    CONNECTIONS = "mcp-platform.connections"
    """`{"order": "reset"|"cleanup", "gateway_id": str}`: every gateway is to do this with its connections;
    the one that is named has done it."""


class RouteClass(StrEnum):
    """Classes of routes, each of which has rate limits of its own."""

    SIGN_IN = "sign-in"
    """What proves who one is: register, sign in, refresh."""
    READ = "read"
    WRITE = "write"
    CALL = "call"
    """Calls of tools, and all else beneath `/mcp`."""
    WEBHOOK = "webhook"
    """What GitHub tells of repositories, by its address."""
    BRIDGE_SMART = "bridge-smart"
    BRIDGE_DIRECT = "bridge-direct"
    BRIDGE_BATCH = "bridge-batch"
    BRIDGE_QUERY = "bridge-query"
    """All else of the bridge."""


RESERVED_SLUGS: Final = frozenset(
    {"admin", "api", "bridge", "group", "groups", "health", "mcp", "metrics", "smart", "v1", "well-known"}
)
"""Slugs that are, or will be, parts of paths beneath `/mcp`."""

REPLICA_LABEL: Final = "mcp-platform.replica"
"""Label of containers and services: the id of the replica that they are."""
INSTANCE_LABEL: Final = "mcp-platform.instance"
"""Label of all that this platform makes in a Docker engine: which platform it was."""

REPLICA_MARKER: Final = "MCP_PLATFORM_REPLICA"
"""Environment variable that marks every process of a replica: `<instance>/<replica id>`."""

TEMPORAL_PART: Final = "temporal"
"""Name under which workers report how Temporal fares."""

KNOWLEDGE_SEARCH: Final = "knowledge.search"
"""Kind of the question by which workers search the knowledge base: processes of the API have its index."""

BRIDGE_SETTINGS: Final = "bridge"
"""Name of what `PUT /mcp/bridge/config` sets."""

DEPLOY_WORKFLOW: Final = "github.deploy"
"""Name of the workflow that deploys what pushes changed; activities start it from below the workflows."""
DEPLOY_PUSH: Final = "github.deploy_push"
"""Name of the signal that tells it of a push."""
CHECK_WORKFLOW: Final = "github.check"
"""Name of the workflow that checks a pull request."""
CHECK_AGAIN: Final = "github.check_again"
"""Name of the signal that tells it that the pull request has changed."""

SYNC_WORKFLOW: Final = "github.sync"
"""Name of the workflow that syncs a connection: pushes start it from below the workflows."""
SYNC_AGAIN: Final = "github.sync_again"
"""Name of the signal that asks it for one more."""

RECONCILE_SCHEDULE: Final = "reconcile"
"""Id of the schedule, and prefix of its workflows, that compares records with the truth."""
HEADS_SCHEDULE: Final = "github-heads"
"""The same for the one that looks whether repositories without a webhook have new commits."""
SWEEP_SCHEDULE: Final = "sweep"
"""The same for the one that removes what nothing points to."""
KNOWN_SERVERS_SCHEDULE: Final = "known-servers"
"""The same for the one that reads the registry's servers."""
KNOWN_SERVERS_STATE: Final = "known-servers"
"""Name under which it is kept how far that registry has been read."""


def deployment_workflow_id(deployment_id: UUID) -> str:
    """Give the id of the workflow that owns a deployment; it doubles as the deployment's task id."""
    return f"deployment-{deployment_id}"


def authorization_workflow_id(authorization_id: UUID) -> str:
    """Give the id of the workflow that owns an authorization at a remote server, and refreshes it."""
    return f"authorization-{authorization_id}"


def sync_workflow_id(connection_id: UUID) -> str:
    """Give the id of the workflow that syncs a connection; it doubles as its task's id."""
    # The contract's task is a UUID.
    return str(uuid5(connection_id, "github-sync"))


def delivery_workflow_id(delivery_id: UUID, webhook: str) -> str:
    """Give the id of the workflow that handles a delivery of GitHub's.

    Args:
        delivery_id: GitHub's own; all webhooks that an event concerns are told of it under the same one.
        webhook: Whose it is: a connection's id, or `app`.
    """
    return f"github-delivery-{delivery_id}-{webhook}"


def deploy_workflow_id(connection_id: UUID) -> str:
    """Give the id of the workflow that deploys a connection's pushes; it doubles as its task's id."""
    return f"github-deploy-{connection_id}"


def check_workflow_id(connection_id: UUID, number: int) -> str:
    """Give the id of the workflow that checks a pull request; it doubles as its task's id."""
    return f"github-check-{connection_id}-{number}"


def connect_workflow_id(connection_id: UUID) -> str:
    """Give the id of the workflow that makes a connection."""
    return f"github-connect-{connection_id}"


def disconnect_workflow_id(connection_id: UUID) -> str:
    """Give the id of the workflow that ends a connection; it doubles as its task's id."""
    return f"github-disconnect-{connection_id}"


def build_workflow_id(deployment_id: UUID, revision: int) -> str:
    """Give the id of the workflow that builds a revision's image; it doubles as its task's id."""
    return f"build-{deployment_id}-{revision}"


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
    BUILD_LOGS = "build_logs"
    """The last lines that a build wrote; the key is its task's."""
    IDEAS = "ideas"
    """What an analysis was asked about; the key is its task's, as in the next three."""
    DRAFTS = "config_drafts"
    """Configurations that are tried before anybody registers them; the key is `<task id>/<number>`."""
    MODEL_INPUTS = "model_inputs"
    """What a model is told about; the key is `<task id>/<number>`."""
    FINDINGS = "task_findings"
    """What a step of an analysis found; the key is `<task id>/<name>`."""
    SYNC_REPORTS = "sync_reports"
    """What a step of a task in a repository found; the key is `<task id>/<number>`."""
    RESULTS = "task_results"
    """What came of a task; `tasks.result_key` points here."""
    KNOWLEDGE = "knowledge"
    """The text of a document of the knowledge base; `knowledge_documents.content_key` points here."""
