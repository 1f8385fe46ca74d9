"""Policies of MCPs, as tests set them."""

from datetime import UTC, datetime
from typing import Any

from mcp_platform.contracts.balancing import Balancing, CallLimits
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.contracts.policies import McpPolicy, StoredPolicy
from mcp_platform.names import Channel
from tests.gateway.conftest import Platform
from tests.waiting import eventually


async def govern(
    platform: Platform,
    deployment: Deployment,
    *,
    balancing: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
) -> None:
    """Set how an MCP's calls are spread and bounded, and wait until the gateway goes by it."""
    policy = McpPolicy(
        balancing=Balancing.model_validate(balancing or {}), limits=CallLimits.model_validate(limits or {})
    )
    stored = StoredPolicy(
        mcp_id=deployment.mcp_id,
        revision=1,
        policy=policy,
        updated_at=datetime.now(UTC),
        updated_by=platform.user.id,
    )
    async with platform.stores.write() as rows:
        await rows.policies.put(stored)
    await platform.stores.publish(Channel.POLICIES, {"mcp_id": str(deployment.mcp_id)})

    async def known() -> bool:
        live = platform.gateway._routes.find(deployment.slug)
        return (
            live.balancer.rules == policy.balancing
            and platform.gateway.policies.of(deployment.mcp_id).limits == policy.limits
        )

    await eventually(known)
