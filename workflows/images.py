"""Building the image of a revision, as a task that users follow."""

from datetime import timedelta
from typing import Any

from temporalio import workflow

from activities.images import ImageActivities
from mcp_platform.contracts.images import BUILD_PROGRESS, BuildOrder, BuildProgress
from mcp_platform.contracts.tasks import TaskStatus
from workflows.policies import QUICK, building
from workflows.tasks import TaskWorkflow


@workflow.defn(name="images.build")
class BuildImageWorkflow(TaskWorkflow):
    """Build the image, and record it with its revision."""

    @workflow.init
    def __init__(self, order: BuildOrder) -> None:
        super().__init__()
        self._building = False

    @workflow.signal(name=BUILD_PROGRESS)
    def progress(self, news: BuildProgress) -> None:
        """Hear from the build how far it is."""
        if self._building:
            self._advance(news.progress, news.message)

    @workflow.run
    async def run(self, order: BuildOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `BuiltImage`."""
        bounds = await workflow.execute_activity_method(ImageActivities.begin, order, **QUICK)
        return await self._carry_out(lambda: self._steps(order, bounds.timeout))

    async def _steps(self, order: BuildOrder, timeout: float) -> dict[str, Any]:
        self._advance(1, "Waiting for a builder")
        self._building = True
        try:
            built = await workflow.execute_activity_method(
                ImageActivities.build, order, **building(timedelta(seconds=timeout))
            )
        finally:
            self._building = False
        return built.model_dump(mode="json")
