"""What a revision is to run: checked before anything is started for it."""

from pydantic import ValidationError

from mcp_platform.build_sources import build_source
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import DeploymentConfig, Driver, RevisionCause, RevisionContent
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.contracts.resources import Resources
from mcp_platform.errors import Conflict, Forbidden, Unavailable, ValidationFailed
from mcp_platform.names import Collection
from mcp_platform.settings import Settings
from storage.stores import Stores

_CONTAINERS = frozenset({Driver.DOCKER, Driver.SWARM})
_FITTING = {
    "url": frozenset({Driver.REMOTE}),
    "command": frozenset({Driver.PROCESS, Driver.DOCKER, Driver.SWARM}),
    "image": _CONTAINERS,
}


async def content_of(
    stores: Stores,
    settings: Settings,
    caller: Principal,
    cause: RevisionCause,
    *,
    version: str,
    config_key: str,
    config: DeploymentConfig,
) -> RevisionContent:
    """Give what a revision of this configuration runs.

    Raises:
        ValidationFailed: The configuration cannot be deployed so; the message names the field.
        Forbidden: The caller may not use the driver.
        Conflict: The driver is turned off.
        Unavailable: What the driver needs is away.
    """
    server = await server_of(stores, config_key, config.server, follow=cause is RevisionCause.ROLLOUT)
    driver = _driver_for(settings, server, config, caller)
    builds = driver in _CONTAINERS and server.kind == "command"
    if builds:
        try:
            build_source(server)
        except ValueError as error:
            raise ValidationFailed.at(("body", "tool_id"), str(error)) from None
    await _check_engine(stores, driver, config.resources)
    return RevisionContent(
        cause=cause,
        version=version,
        config_key=config_key,
        driver=driver,
        config=config.model_copy(update={"server": server.name}),
        author_id=caller.user_id,
        builds=builds,
    )


async def server_of(stores: Stores, config_key: str, name: str | None, follow: bool) -> ServerConfig:
    """Find the server; to follow is to take the only one there is, where a version renamed it.

    Raises:
        ValidationFailed: The configuration is not valid, or has no such server.
    """
    body = await stores.documents.get(Collection.CONFIGS, config_key)
    try:
        config = McpConfig.model_validate(body or {})
        renamed = follow and len(config.servers) == 1
        return config.server(None if renamed else name)
    except ValidationError as error:
        raise ValidationFailed.at(("body", "tool_id"), f"its configuration is not valid: {error}") from None
    except ValueError as error:
        raise ValidationFailed.at(("body", "config", "server"), str(error)) from None


def fits(driver: Driver, server: ServerConfig) -> bool:
    """Tell whether a driver can run a server."""
    return driver in _FITTING[server.kind]


def _driver_for(
    settings: Settings, server: ServerConfig, config: DeploymentConfig, caller: Principal
) -> Driver:
    usual = {"url": Driver.REMOTE, "command": settings.command_driver, "image": _image_driver(settings)}
    driver = config.driver or usual[server.kind]
    fitting = _FITTING[server.kind]
    if driver not in fitting:
        names = ", ".join(sorted(fitting))
        raise ValidationFailed.at(
            ("body", "config", "driver"),
            f"{driver} cannot run server {server.name!r}, which has a {server.kind}; what can: {names}",
        )
    if driver is Driver.PROCESS:
        if not settings.process_driver:
            raise Conflict(
                "The process driver is off; an administrator can turn it on with"
                " MCP_PLATFORM_REPLICAS__PROCESS_DRIVER=true"
            )
        if Permission.DEPLOYMENTS_PROCESS not in caller.permissions:
            raise Forbidden(Permission.DEPLOYMENTS_PROCESS)
    if driver in _CONTAINERS and not settings.docker.enabled:
        raise Conflict(
            f"The {driver} driver is off; an administrator can turn it on with"
            " MCP_PLATFORM_DOCKER__ENABLED=true"
        )
    return driver


def _image_driver(settings: Settings) -> Driver:
    chosen = settings.replicas.driver
    return chosen if chosen in _CONTAINERS else Driver.DOCKER


async def _check_engine(stores: Stores, driver: Driver, resources: Resources) -> None:
    """See that the engine is there, as the workers report it, and large enough for a replica."""
    state = await stores.drivers.read(driver) if driver in _CONTAINERS else None
    if state is None:
        return
    if state.trouble:
        raise Unavailable(f"The {driver} driver is not available: {state.trouble}", part=driver.value)
    for name, wanted, there, unit in (
        ("memory", resources.bytes, state.memory_bytes, 2**30),
        ("cpu", resources.cores, state.cpus, 1),
    ):
        if wanted and there and wanted > there:
            has = f"{there / unit:.1f} GiB" if name == "memory" else f"{there:g} cores"
            raise ValidationFailed.at(
                ("body", "config", "resources", name),
                f"{getattr(resources, name)} is more than any machine of the {driver} driver has: {has}",
            )


def with_image_of(content: RevisionContent, before: RevisionContent) -> RevisionContent:
    """Run the image that was built for an earlier revision of the same configuration, if it was."""
    if content.builds and before.image:
        return content.model_copy(update={"image": before.image, "builds": False})
    return content


def check_scaling(content: RevisionContent) -> None:
    """See that what is to be scaled can be.

    Raises:
        ValidationFailed: It is a remote server.
    """
    if content.config.autoscaling is not None and content.driver is Driver.REMOTE:
        raise ValidationFailed.at(
            ("body", "config", "autoscaling"), "a remote server has one address and cannot be scaled"
        )
