"""Making, changing and ending connections; workflows know their ids alone, tokens lie sealed in rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.github_sync.faults import failure_of
from activities.github_sync.opening import repository_of
from activities.heartbeat import beating
from mcp_platform.contracts.connecting import ConnectOrder, ConnectOutcome, HookRemoval, webhook_url
from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    CredentialKind,
    SealedConnection,
    WebhookState,
    connection_purpose,
)
from mcp_platform.contracts.repositories import FaultKind, GitHubFault, RepositoryFacts
from mcp_platform.names import deploy_workflow_id, sync_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

    from activities.clients.github import GitHub, GitHubs
    from mcp_platform.security.sealing import Sealer
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_Hook = dict[str, Any]
"""Columns of a connection that are about its webhook."""

_ENDING: Final = 10.0
"""Seconds that a cancelled workflow gets to end by itself."""
_GONE: Final = ConnectOutcome(
    fault=FaultKind.REFUSED, message="The connection was ended while it was being made or changed"
)


class ConnectionActivities:
    """What the workflows of connections ask for; each may be done twice.

    Args:
        stores: Where connections are.
        temporal: Cancels what runs for a connection.
        githubs: Opens GitHub.
        sealer: Seals a token for the row that it moves to.
        api_url: The platform's address, as GitHub is told.
    """

    def __init__(
        self, stores: Stores, temporal: Client, githubs: GitHubs, sealer: Sealer, api_url: str
    ) -> None:
        self._stores = stores
        self._temporal = temporal
        self._githubs = githubs
        self._sealer = sealer
        self._api_url = api_url

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [
            self.examine,
            self.complete,
            self.remove_hook,
            self.left_hook,
            self.stop_syncs,
            self.forget,
        ]

    @activity.defn(name="github.examine")
    async def examine(self, order: ConnectOrder) -> ConnectOutcome:
        """Ask GitHub for the repository and the branch with the credential; write down how it spells them."""
        sealed = await self._sealed(order.connection_id)
        if sealed is None:
            return _GONE
        asked = sealed.connection
        try:
            async with beating(), self._githubs.opened(sealed) as github:
                facts = await repository_of(github, asked)
                branch = asked.branch or facts.default_branch
                head = await github.branch_head(facts.full_name, branch)
        except GitHubFault as fault:
            return ConnectOutcome.of(fault)
        found = asked.model_copy(update={"id": order.target, "full_name": facts.full_name, "branch": branch})
        async with self._stores.write() as rows:
            if (holder := await rows.connections.elsewhere(found)) is not None:
                return ConnectOutcome(holder=holder)
            await rows.connections.update(
                asked.id,
                datetime.now(UTC),
                full_name=found.full_name,
                repository_id=facts.id,
                branch=branch,
                head_commit=head,
            )
        return ConnectOutcome(warnings=_lacking(asked, facts))

    @activity.defn(name="github.complete_connection")
    async def complete(self, order: ConnectOrder) -> ConnectOutcome:
        """Install the webhook, if that is allowed, and make the connection one that its owner sees."""
        sealed, target = await self._sealed(order.connection_id), await self._sealed(order.target)
        if sealed is None:
            # Done before: a change's row is gone once it was made.
            return ConnectOutcome() if order.replaces and target else _GONE
        if target is None or target.connection.state is ConnectionState.DISCONNECTING:
            return _GONE
        hook = await self._hook(sealed, target)
        if isinstance(hook, ConnectOutcome):
            return hook
        return await self._settle(order, sealed, hook)

    @activity.defn(name="github.remove_hook")
    async def remove_hook(self, connection_id: UUID) -> HookRemoval:
        """Remove the webhook of a connection; what GitHub does not allow is told, what passes is repeated."""
        sealed = await self._sealed(connection_id)
        if sealed is None or sealed.connection.credential is CredentialKind.APP:
            return HookRemoval()
        connection = sealed.connection
        url = webhook_url(self._api_url, connection_id)
        try:
            async with beating(), self._githubs.opened(sealed) as github:
                facts = await repository_of(github, connection)
                await github.delete_hooks(facts.full_name, url)
        except GitHubFault as fault:
            if fault.passing:
                raise failure_of(fault) from fault
            if connection.webhook is WebhookState.REFUSED:
                # We never had one there.
                return HookRemoval()
            return HookRemoval(left=left_over(connection, url, fault.message))
        return HookRemoval()

    @activity.defn(name="github.left_hook")
    async def left_hook(self, connection_id: UUID) -> HookRemoval:
        """Say what somebody has to remove, because GitHub was away for too long."""
        sealed = await self._sealed(connection_id)
        if sealed is None or sealed.connection.webhook not in {WebhookState.INSTALLED, WebhookState.BY_HAND}:
            return HookRemoval()
        url = webhook_url(self._api_url, connection_id)
        return HookRemoval(left=left_over(sealed.connection, url, "GitHub could not be asked"))

    @activity.defn(name="github.stop_syncs")
    async def stop_syncs(self, connection_id: UUID) -> None:
        """Cancel the sync and the deploying that run for a connection, and wait a little for their end.

        What takes longer, and what else there is, finds the connection gone at its next step.
        """
        await asyncio.gather(
            self._stop(sync_workflow_id(connection_id)), self._stop(deploy_workflow_id(connection_id))
        )

    @activity.defn(name="github.forget_connection")
    async def forget(self, connection_id: UUID) -> None:
        """Forget a connection with its token, its webhook's secret and its definitions."""
        async with self._stores.write() as rows:
            await rows.connections.delete(connection_id)
        logger.info("repository_connection_forgotten", connection_id=str(connection_id))

    async def _stop(self, workflow_id: str) -> None:
        handle = self._temporal.get_workflow_handle(workflow_id)
        try:
            await handle.cancel()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return
        with suppress(WorkflowFailureError, TimeoutError):
            async with asyncio.timeout(_ENDING):
                await handle.result()

    async def _hook(self, sealed: SealedConnection, target: SealedConnection) -> _Hook | ConnectOutcome:
        """Install the webhook of the connection that there will be, with the credential that it will have."""
        if sealed.connection.credential is CredentialKind.APP:
            return {"webhook": WebhookState.BY_APP, "webhook_id": None, "webhook_reason": None}
        if target.connection.webhook is WebhookState.BY_HAND:
            return {}
        assert target.sealed_webhook_secret is not None
        number = target.connection.id
        secret = self._sealer.unseal(target.sealed_webhook_secret, connection_purpose(number, "webhook"))
        url = webhook_url(self._api_url, number)
        try:
            async with beating(), self._githubs.opened(sealed) as github:
                facts = await repository_of(github, sealed.connection)
                installed = await self._installed(github, facts.full_name, url, secret.decode())
        except GitHubFault as fault:
            if fault.kind is FaultKind.UNAVAILABLE:
                raise failure_of(fault) from fault
            return ConnectOutcome.of(fault)
        return installed

    async def _installed(self, github: GitHub, full_name: str, url: str, secret: str) -> _Hook:
        try:
            number = await github.ensure_hook(full_name, url, secret)
        except GitHubFault as fault:
            if fault.passing or fault.kind is FaultKind.TOKEN_EXPIRED:
                raise
            # A 404 here is a missing right too: the repository was there a moment ago.
            said = "" if fault.kind is FaultKind.NO_SUCH_REPOSITORY else f" ({fault.message})"
            return {
                "webhook": WebhookState.REFUSED,
                "webhook_id": None,
                "webhook_reason": by_hand(url, said),
            }
        return {"webhook": WebhookState.INSTALLED, "webhook_id": number, "webhook_reason": None}

    async def _settle(self, order: ConnectOrder, sealed: SealedConnection, hook: _Hook) -> ConnectOutcome:
        new, now = sealed.connection, datetime.now(UTC)
        values: dict[str, Any] = {"state": ConnectionState.CONNECTED, "reason": None, **hook}
        async with self._stores.write() as rows:
            old = await rows.connections.get(order.target)
            holder = await rows.connections.settle(new.model_copy(update={"id": order.target}), now)
            if holder is not None:
                return ConnectOutcome(holder=holder)
            if order.replaces is not None:
                values |= self._moved(sealed, order.replaces)
                if old is not None and (old.branch, old.path) != (new.branch, new.path):
                    # What was synced was something else.
                    values |= {"synced_commit": None, "synced_at": None}
                await rows.connections.delete(new.id)
            await rows.connections.update(order.target, now, **values)
        return ConnectOutcome()

    def _moved(self, sealed: SealedConnection, target: UUID) -> dict[str, Any]:
        """Give what a change's row brings to the connection; its token is sealed for that one."""
        new = sealed.connection
        token = sealed.sealed_token
        if token is not None:
            plain = self._sealer.unseal(token, connection_purpose(new.id, "token"))
            token = self._sealer.seal(plain, connection_purpose(target, "token"))
        return {
            "deploy": new.deploy,
            "repository_id": new.repository_id,
            "head_commit": new.head_commit,
            "sealed_token": token,
        }

    async def _sealed(self, connection_id: UUID) -> SealedConnection | None:
        async with self._stores.read() as rows:
            return await rows.connections.sealed(connection_id)


def _lacking(asked: Connection, facts: RepositoryFacts) -> list[str]:
    """Say what the token may not do, as far as GitHub tells: of the rights of an App it does not."""
    if facts.may_push or asked.credential is CredentialKind.APP:
        return []
    warnings = [
        "The token may not push here: GitHub will refuse pull requests from the platform, and statuses of"
        " commits"
    ]
    if asked.deploy:
        warnings.append(
            "With deploy, pushes are rolled out all the same, but the token may not write the status"
            " mcp-platform/deploy at their commits"
        )
    return warnings


def by_hand(url: str, said: str) -> str:
    """Say how to make the webhook that the platform may not."""
    return (
        f"GitHub does not let the platform install a webhook here{said}. Pushes are noticed when somebody who"
        f" administers the repository adds a webhook to {url} with the content type application/json, a"
        " secret, and the events push and pull request; then give the secret by PATCH as webhook_secret"
    )


def left_over(connection: Connection, url: str, why: str) -> str:
    """Say which webhook somebody has to remove by hand."""
    return (
        f"The webhook to {url} is left at {connection.repository_url}/settings/hooks, where somebody who"
        f" administers the repository can remove it: {why}"
    )
