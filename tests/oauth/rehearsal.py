"""An authorization's activities without any server: they do what a test says."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from mcp_platform.contracts.oauth import AuthorizationOrder, AuthorizationState, AuthorizationStep
from mcp_platform.names import TaskQueue, authorization_workflow_id
from workflows.authorizations import AuthorizationWorkflow

Handle = WorkflowHandle[AuthorizationWorkflow, AuthorizationStep]

ACTIVE = AuthorizationStep(state=AuthorizationState.ACTIVE, refresh_in=0.2)
EXPIRED = AuthorizationStep(state=AuthorizationState.EXPIRED, detail="invalid_grant")


class Rehearsal:
    """The activities.

    Args:
        refreshes: What comes of one refresh after the other; then it goes on well.
    """

    def __init__(self, refreshes: Sequence[AuthorizationStep] = ()) -> None:
        self._refreshes = list(refreshes)
        self.refreshed = 0
        self.given_back = 0
        self.first = ACTIVE
        """What comes of the code."""

    @activity.defn(name="authorizations.prepare")
    async def prepare(self, authorization_id: UUID) -> AuthorizationStep:
        """Find everything."""
        return AuthorizationStep(state=AuthorizationState.PENDING)

    @activity.defn(name="authorizations.exchange")
    async def exchange(self, authorization_id: UUID) -> AuthorizationStep:
        """Get tokens."""
        return self.first

    @activity.defn(name="authorizations.refresh")
    async def refresh(self, authorization_id: UUID) -> AuthorizationStep:
        """Get what comes next."""
        self.refreshed += 1
        return self._refreshes.pop(0) if self._refreshes else ACTIVE

    @activity.defn(name="authorizations.look")
    async def look(self, authorization_id: UUID) -> AuthorizationStep:
        """Find that it is not wanted any more."""
        return AuthorizationStep(state=AuthorizationState.ENDED)

    @activity.defn(name="authorizations.give_back")
    async def give_back(self, authorization_id: UUID) -> None:
        """Note it."""
        self.given_back += 1

    @activity.defn(name="authorizations.give_up")
    async def give_up(self, authorization_id: UUID) -> None:
        """Forget nothing."""


@asynccontextmanager
async def rehearsed(client: Client, rehearsal: Rehearsal) -> AsyncIterator[Handle]:
    """Run the workflow with these activities, in a namespace that no other worker serves."""
    order = AuthorizationOrder(authorization_id=uuid4())
    worker = Worker(
        client,
        task_queue=TaskQueue.ORCHESTRATION,
        workflows=[AuthorizationWorkflow],
        activities=[
            rehearsal.prepare,
            rehearsal.exchange,
            rehearsal.refresh,
            rehearsal.look,
            rehearsal.give_back,
            rehearsal.give_up,
        ],
    )
    async with worker:
        handle: Handle = await client.start_workflow(
            AuthorizationWorkflow.run,
            order,
            id=authorization_workflow_id(order.authorization_id),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        yield handle
