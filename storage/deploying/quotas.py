"""How much one account may run: anybody may register, and every replica costs memory."""

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import Deployment, DeploymentConfig, Driver
from mcp_platform.contracts.resources import cpu_cores, memory_bytes
from mcp_platform.errors import Conflict, ValidationFailed
from mcp_platform.settings import Settings
from storage.stores import Stores


async def check_quota(
    stores: Stores,
    settings: Settings,
    caller: Principal,
    present: Deployment | None,
    config: DeploymentConfig,
) -> None:
    """See that a wish lies within what one account may have; who may do all is not bound.

    Raises:
        ValidationFailed: One replica would get more than is allowed.
        Conflict: The account would have more deployments or replicas than it may.
    """
    if Permission.DEPLOYMENTS_ALL in caller.permissions:
        return
    _check_size(settings, config)
    owner_id = present.owner_id if present else caller.user_id
    async with stores.read() as rows:
        others = [
            each
            for each in await rows.deployments.active()
            if each.owner_id == owner_id and (present is None or each.id != present.id)
        ]
    limits = settings.replicas
    if len(others) >= limits.most_deployments:
        raise Conflict(
            f"One account may have {limits.most_deployments} deployments; stop one of them first",
            limit=limits.most_deployments,
        )
    count = sum(_most(each.driver, each.config) for each in others)
    count += _most(config.driver or (present.driver if present else None), config)
    if count > limits.most_replicas:
        raise Conflict(
            f"One account may have {limits.most_replicas} replicas in all; with these it would have {count}",
            limit=limits.most_replicas,
        )


def _check_size(settings: Settings, config: DeploymentConfig) -> None:
    own, resources = settings.docker, config.resources
    for name, wanted, most in (
        ("cpu", resources.cores, cpu_cores(own.most_cpu)),
        ("memory", resources.bytes, memory_bytes(own.most_memory)),
    ):
        if wanted and wanted > most:
            allowed = getattr(own, f"most_{name}")
            raise ValidationFailed.at(
                ("body", "config", "resources", name), f"is more than one replica may have: {allowed}"
            )


def _most(driver: Driver | None, config: DeploymentConfig) -> int:
    """Give how many replicas there may be at once; a remote server is one."""
    if driver is Driver.REMOTE:
        return 1
    return max(config.replicas, config.autoscaling.max if config.autoscaling else 0)
