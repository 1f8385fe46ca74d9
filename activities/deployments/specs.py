"""What a replica is to run: read from its revision, with every `${NAME}` resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.drivers import LogKeeper, ReplicaFault, ReplicaSpec
from mcp_platform.build_sources import command_in_image
from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.names import Collection
from mcp_platform.variables import Unresolvable, Variables, references

if TYPE_CHECKING:
    from storage.secrets import SecretValues
    from storage.stores import Stores

_CONTAINERS = frozenset({Driver.DOCKER, Driver.SWARM})


class Specs:
    """Reads what replicas are to run."""

    def __init__(self, stores: Stores, secrets: SecretValues, logs: LogKeeper) -> None:
        self._stores = stores
        self._secrets = secrets
        self._logs = logs

    async def of(self, order: ReplicaOrder) -> ReplicaSpec:
        """Give what this replica is to run.

        Raises:
            ReplicaFault: A `${NAME}` stands for nothing.
            ApplicationError: The deployment, its revision or its configuration has no record.
        """
        async with self._stores.read() as rows:
            deployment = await rows.deployments.get(order.deployment_id)
            revision = await rows.revisions.get(order.deployment_id, order.revision)
        body = revision and await self._stores.documents.get(Collection.CONFIGS, revision.config_key)
        if deployment is None or revision is None or body is None:
            raise ApplicationError(
                f"deployment {order.deployment_id} has no record", type="RecordMissing", non_retryable=True
            )
        config = revision.config
        server = McpConfig.model_validate(body).server(config.server)
        if revision.driver in _CONTAINERS and server.command is not None:
            command, *args = command_in_image(server)
            server = server.model_copy(update={"command": command, "args": args})
        try:
            variables = await self._secrets.variables(deployment.mcp_id, references(server.model_dump()))
            resolved = _resolve(server, variables)
        except Unresolvable as unknown:
            raise ReplicaFault(str(unknown)) from None
        return ReplicaSpec(
            replica_id=order.replica_id,
            server=resolved,
            patience=order.patience,
            configured_url=server.url,
            mask=variables.mask,
            deployment_id=deployment.id,
            slug=deployment.slug,
            environment=config.environment,
            resources=config.resources,
            egress=config.egress,
            image=revision.image,
            log=self._logs.of(order),
        )


def _resolve(server: ServerConfig, variables: Variables) -> ServerConfig:
    """Give the same server with every `${NAME}` replaced."""
    return server.model_copy(
        update={
            "url": server.url and variables.resolve(server.url),
            "headers": variables.resolve_headers(server.headers),
            "command": server.command and variables.resolve(server.command),
            "args": [variables.resolve(arg) for arg in server.args],
            "env": variables.resolve_all(server.env),
            "cwd": server.cwd and variables.resolve(server.cwd),
        }
    )
