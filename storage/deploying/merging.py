"""Deploying what a push to a repository has changed, for the account whose connection it is."""

from uuid import uuid5

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    Driver,
    RevisionCause,
    RevisionContent,
    RevisionState,
)
from mcp_platform.contracts.mcps import Mcp, McpConfig
from mcp_platform.contracts.merging import DeployStep, RolloutBegun
from mcp_platform.errors import Conflict, Forbidden, NotFound, Unavailable
from mcp_platform.names import Collection
from mcp_platform.settings import Settings
from storage.deploying.acting import acting_for
from storage.deploying.beginning import Keeper, begin, roll_out
from storage.deploying.contents import check_scaling, content_of, fits, server_of
from storage.deploying.owners import check_owner
from storage.deploying.pushed import BY_HAND, Runs, objection
from storage.deploying.quotas import check_quota
from storage.stores import Stores


class MergedDeployments:
    """Deploys MCPs for the owners of connections, with the rights that these have at that moment.

    Args:
        stores: Where accounts, MCPs and deployments are.
        settings: How replicas run, and what may.
    """

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        self._settings = settings

    async def deploy(self, step: DeployStep, keeper: Keeper) -> RolloutBegun:
        """Roll the MCP's deployment to what the MCP is now, or begin one; what runs already stays.

        Raises:
            NotFound: The MCP is gone.
            Forbidden: The owner may not deploy it.
            Conflict: It is more than a push may change: the owner has to deploy it once by hand.
            PlatformError: It cannot be deployed, or not now.
        """
        caller = await self.owner(step)
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(step.mcp_id)
            present = await rows.deployments.active_of(mcp.slug) if mcp else None
        if mcp is None:
            raise NotFound("mcp_tool", step.mcp_id)
        deployment_id = uuid5(step.connection_id, f"{step.commit}/{mcp.id}")
        if present is None:
            content = await self._content(caller, mcp, None)
            try:
                made = await begin(
                    self._stores, self._settings, keeper, caller, mcp, content, deployment_id=deployment_id
                )
            except Conflict as conflict:
                # Somebody else deployed it a moment ago: the next attempt finds that.
                raise Unavailable(str(conflict), part=mcp.slug) from None
            return RolloutBegun(deployment_id=made.id, revision=made.revision)
        await check_owner(self._stores, present, caller)
        if present.id == deployment_id:
            # An attempt before this one may have died before it started the workflow.
            await self._start(present, keeper)
        running = await self._revision_of(present, mcp)
        if running is None:
            content = await self._content(caller, mcp, present)
            made_revision = await roll_out(self._stores, self._settings, keeper, present, content)
            running = made_revision.number
        return RolloutBegun(deployment_id=present.id, revision=running)

    async def owner(self, step: DeployStep) -> Principal:
        """Give who deploys.

        Raises:
            Forbidden: The account is disabled, or may not deploy any more.
        """
        caller = await acting_for(self._stores, step.owner_id, f"connection:{step.connection_id}")
        needed = Permission.DEPLOYMENTS_WRITE
        if caller is None:
            raise Forbidden(needed, "The account of the connection's owner is disabled")
        if needed not in caller.permissions:
            raise Forbidden(needed, f"The connection's owner may not deploy (any more): {needed} is missing")
        return caller

    async def _content(self, caller: Principal, mcp: Mcp, present: Deployment | None) -> RevisionContent:
        content = await content_of(
            self._stores,
            self._settings,
            caller,
            RevisionCause.ROLLOUT if present else RevisionCause.DEPLOY,
            version=mcp.version,
            config_key=mcp.config_key,
            config=await self._config(mcp, present),
        )
        await self._check_pushed(mcp, present, content)
        check_scaling(content)
        wished = content.config.model_copy(update={"driver": content.driver})
        await check_quota(self._stores, self._settings, caller, present, wished)
        return content

    async def _check_pushed(self, mcp: Mcp, present: Deployment | None, content: RevisionContent) -> None:
        """See that what a push has run differs from what somebody had deployed by what a push may change."""
        after = await self._runs(content.config_key, content.config.server, content.driver)
        before = None
        if present is not None:
            try:
                before = await self._runs(present.config_key, present.config.server, present.driver)
            except ValueError:
                raise Conflict(f"What is deployed cannot be read any more; {BY_HAND}") from None
        async with self._stores.read() as rows:
            authorized = bool(await rows.upstream_authorizations.active(mcp.id))
        reason = objection(before, after, authorized)
        if reason is not None:
            raise Conflict(f"It was not rolled out by the push: {reason}")

    async def _runs(self, config_key: str, server: str | None, driver: Driver) -> Runs:
        document = await self._stores.documents.get(Collection.CONFIGS, config_key)
        return Runs(McpConfig.model_validate(document or {}), server, driver)

    async def _config(self, mcp: Mcp, present: Deployment | None) -> DeploymentConfig:
        if present is None:
            return DeploymentConfig()
        server = await server_of(self._stores, mcp.config_key, present.config.server, follow=True)
        # A version may be reached in another way than the one before, which needs another driver.
        driver = present.driver if fits(present.driver, server) else None
        return present.config.model_copy(update={"driver": driver})

    async def _start(self, present: Deployment, keeper: Keeper) -> None:
        async with self._stores.read() as rows:
            first = await rows.revisions.get(present.id, 1)
        if first is not None and present.revision == 1:
            order = self._settings.replicas.order_for(present, RevisionContent(**first.model_dump()))
            await keeper.start(order, f"{present.slug} in {present.config.environment}")

    async def _revision_of(self, present: Deployment, mcp: Mcp) -> int | None:
        """Find the revision that runs the MCP as it is now, or is being rolled out."""
        rollout = present.rollout
        if rollout is not None and rollout.state is RevisionState.PENDING:
            async with self._stores.read() as rows:
                pending = await rows.revisions.get(present.id, rollout.revision)
            return pending.number if pending and pending.config_key == mcp.config_key else None
        return present.revision if present.config_key == mcp.config_key else None
