"""What tests do with a platform that builds images."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from docker import DockerClient
from temporalio.client import WorkflowHandle

from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    DeploymentState,
    Driver,
    Health,
    RevisionCause,
    RevisionContent,
)
from mcp_platform.contracts.images import BuildLog, BuildOrder
from mcp_platform.contracts.tasks import TaskStatus
from mcp_platform.names import Collection, TaskQueue
from tests.platform import Caller, RunningPlatform
from tests.services.docker import DockerEngine
from tests.waiting import eventually
from workflows.images import BuildImageWorkflow

FIRST_BUILD: Final = 240.0
"""Seconds that the first build may take on a slow machine: it makes what all others stand on."""
ARGUMENT: Final = "an-argument-that-nobody-may-see"
TINY: Final = {"name": "tiny", "command": "iniconfig", "build": {"pypi": ["iniconfig==2.0.0"]}}
"""The smallest thing that can be installed; nothing is run of it."""

Handle = WorkflowHandle[BuildImageWorkflow, TaskStatus]


class Build:
    """One build: its order, its workflow and its task."""

    def __init__(self, order: BuildOrder, slug: str, handle: Handle, caller: Caller) -> None:
        self.order = order
        self.slug = slug
        self.handle = handle
        self._caller = caller

    async def task(self) -> dict[str, Any]:
        """Read the task, as users do."""
        answer = await self._caller.get(f"/api/v1/tasks/{self.order.task_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def known(self) -> bool:
        """Tell whether there is a task of it already."""
        return (await self._caller.get(f"/api/v1/tasks/{self.order.task_id}")).status_code == 200

    async def ended(self) -> dict[str, Any]:
        """Wait until the build has ended, however, and read its task."""
        states = {"completed", "failed", "cancelled"}
        return await eventually(self.task, lambda seen: seen["status"] in states, within=FIRST_BUILD)

    async def result(self) -> dict[str, Any]:
        """Wait until the image is built, and give what the task tells of it."""
        task = await self.ended()
        assert task["status"] == "completed", task["error"]
        found: dict[str, Any] = task["result"]
        return found

    async def failure(self) -> str:
        """Wait until the build has failed, and give the reason."""
        task = await self.ended()
        assert task["status"] == "failed", task
        reason: str = task["error"]
        return reason


class Builds:
    """Orders builds of a platform, and looks at what came of them."""

    def __init__(self, platform: RunningPlatform, engine: DockerEngine, caller: Caller) -> None:
        self.platform = platform
        self.engine = engine
        self.caller = caller

    @property
    def docker(self) -> DockerClient:
        """A client of the engine."""
        return self.engine.client

    async def order(self, server: dict[str, Any]) -> tuple[BuildOrder, str]:
        """Record a deployment of this server whose first revision wants an image; with its slug."""
        created = await self.caller.register_mcp({"servers": [server]})
        stores = self.platform.parts.stores
        async with stores.read() as rows:
            mcp = await rows.mcps.get(UUID(created["id"]))
        assert mcp is not None
        config = DeploymentConfig(server=server["name"], driver=Driver.DOCKER)
        deployment = Deployment(
            id=uuid4(),
            mcp_id=mcp.id,
            slug=mcp.slug,
            tool_name=mcp.name,
            version=mcp.version,
            owner_id=mcp.author_id,
            driver=Driver.DOCKER,
            config=config,
            config_key=mcp.config_key,
            status=DeploymentState.BUILDING,
            health_status=Health.UNKNOWN,
            # Nobody looks yet for the workflow that it lacks.
            deployed_at=datetime.now(UTC) + timedelta(hours=1),
        )
        content = RevisionContent(
            cause=RevisionCause.DEPLOY,
            version=mcp.version,
            config_key=mcp.config_key,
            driver=Driver.DOCKER,
            config=config,
            author_id=mcp.author_id,
            builds=True,
        )
        async with stores.write() as rows:
            await rows.deployments.add(deployment, content)
        return BuildOrder(deployment_id=deployment.id, revision=1, owner_id=mcp.author_id), mcp.slug

    async def start(self, server: dict[str, Any]) -> Build:
        """Begin to build the image of a server."""
        return await self.carry_out(*await self.order(server))

    async def again(self, build: Build) -> Build:
        """Begin to build the image of another revision with the same content."""
        order = build.order.model_copy(update={"revision": build.order.revision + 1})
        async with self.platform.parts.stores.write() as rows:
            before = await rows.revisions.get(order.deployment_id, build.order.revision)
            assert before is not None
            content = RevisionContent.model_validate(before.model_dump()).model_copy(update={"image": None})
            await rows.revisions.add(order.deployment_id, order.revision, content)
        return await self.carry_out(order, build.slug)

    async def carry_out(self, order: BuildOrder, slug: str) -> Build:
        """Begin to build what was ordered; its task is there when this returns."""
        handle = await self.platform.parts.temporal.start_workflow(
            BuildImageWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
        )
        build = Build(order, slug, handle, self.caller)
        await eventually(build.known)
        return build

    async def image(self, server: dict[str, Any]) -> str:
        """Build the image of a server, and give its id."""
        result = await (await self.start(server)).result()
        image: str = result["image"]
        return image

    async def recorded_image(self, order: BuildOrder) -> str | None:
        """Give the image that the revision's record names."""
        async with self.platform.parts.stores.read() as rows:
            revision = await rows.revisions.get(order.deployment_id, order.revision)
        assert revision is not None
        return revision.image

    async def log(self, order: BuildOrder) -> BuildLog:
        """Read what was kept of what the build wrote."""
        documents = self.platform.parts.stores.documents
        return BuildLog.model_validate(await documents.get(Collection.BUILD_LOGS, order.task_id))

    def leftovers(self, slug: str) -> list[str]:
        """List what a build left behind that came to nothing: its containers, and images without a name."""
        label = f"mcp-platform.build={slug}"
        containers = self.docker.containers.list(all=True, filters={"label": label})
        images = self.docker.images.list(filters={"label": label})
        return [str(container.name) for container in containers] + [str(image.id) for image in images]

    def run(self, image: str, *command: str) -> str:
        """Run a program inside of an image, and give what it writes."""
        written = self.docker.containers.run(
            image, list(command[1:]), entrypoint=command[0], remove=True, network_mode="none"
        )
        text: str = written.decode()
        return text

    def history(self, image: str) -> str:
        """Give all that an image tells of how it was made."""
        found = self.docker.images.get(image)
        return f"{found.history()} {found.attrs}"
