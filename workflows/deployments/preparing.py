"""Building the image that a revision's replicas need before they can start."""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

from mcp_platform.contracts.deployments import DeploymentOrder
from mcp_platform.contracts.images import BuildOrder
from mcp_platform.names import build_workflow_id
from workflows.failures import reason_of
from workflows.images import BuildImageWorkflow


def lacks_image(order: DeploymentOrder) -> bool:
    """Tell whether an image has to be built before replicas can start."""
    return order.content is not None and order.content.builds and order.content.image is None


def with_image(order: DeploymentOrder) -> DeploymentOrder:
    """Give the order of a revision whose image was built; the record says which it is."""
    if not lacks_image(order):
        return order
    assert order.content is not None
    return order.model_copy(update={"content": order.content.model_copy(update={"image": "built"})})


async def build_image(order: DeploymentOrder) -> None:
    """Build the image of the order's revision.

    Raises:
        ChildWorkflowError: It could not be built.
    """
    if order.owner_id is None:
        raise ApplicationError("the deployment has no owner", type="NoOwner", non_retryable=True)
    await workflow.execute_child_workflow(
        BuildImageWorkflow.run,
        BuildOrder(deployment_id=order.deployment_id, revision=order.revision, owner_id=order.owner_id),
        id=build_workflow_id(order.deployment_id, order.revision),
    )


class Preparation:
    """Builds the image of the first revision.

    What could not be built is not built again by itself: a build takes minutes that others wait for,
    and it has waited itself for whatever may pass, such as an engine that is away.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        """Why it is not there yet."""
        self._building: asyncio.Task[None] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it is being built."""
        return self._building is not None

    def begin(self, order: DeploymentOrder, done: Callable[[], None]) -> None:
        """Begin to build; `done` is called once there is an image."""
        self._building = asyncio.create_task(self._build(order, done))

    async def end(self) -> None:
        """Give it up."""
        building, self._building = self._building, None
        if building is not None:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)

    async def _build(self, order: DeploymentOrder, done: Callable[[], None]) -> None:
        try:
            await build_image(order)
        except ChildWorkflowError as error:
            if not self.goes_on:
                return  # called off: something else takes its place
            self.trouble = (
                f"its image could not be built: {reason_of(error)}; deploy it again once that is mended"
            )
        else:
            self.trouble = None
            done()
        self._building = None
