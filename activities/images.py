"""Building the image of a revision, and clearing away what nobody uses."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.build_plans import (
    BuildSettings,
    look_at,
    needs_node,
    percent_of,
    runner_plan,
    server_plan,
)
from activities.building import BuildFailed, BuildTranscript, Checkouts, ImageBuilder, ImagePlan, Step
from activities.checks.sandboxes import NotTried
from activities.drivers import DriverUnavailable
from activities.finishing import to_its_end
from activities.heartbeat import beating
from mcp_platform.build_sources import build_source, command_in_image
from mcp_platform.contracts.checks import TrialOrder
from mcp_platform.contracts.images import (
    BUILD_PROGRESS,
    BuildBounds,
    BuildLog,
    BuildOrder,
    BuildProgress,
    BuildSource,
    BuiltImage,
)
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.names import Collection
from mcp_platform.variables import Mask, Unresolvable, references

if TYPE_CHECKING:
    from activities.checks.turns import Turns
    from mcp_platform.docker_settings import DockerSettings
    from storage.secrets import SecretValues
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_SPARED: Final = timedelta(days=1)
"""An image younger than this may belong to a build that is not recorded yet."""
_LONGEST_REASON: Final = 4_000
_TRIAL: Final = "trial"
"""Whose images those are that no MCP has."""
_TURNS: Final = UUID("0d6f8f0e-54f2-4c52-8f0b-1e1f2a9f7b51")
_SHORTEST_SECRET: Final = 8
"""Characters of a build argument that is masked: a `1` is no secret."""


@dataclass(frozen=True)
class DraftBuilds:
    """What bounds builds of drafts, which may be a stranger's or a model's.

    Args:
        checkouts: Gets their repositories, from where the platform may connect to.
        turns: Gives turns with the account's trials.
    """

    checkouts: Checkouts
    turns: Turns


class ImageActivities:
    """The steps of a build; each may be repeated.

    Args:
        stores: Where deployments, configurations and logs are.
        secrets: Opens the token of a private repository.
        builder: The engine; None where it is turned off.
        checkouts: Gets repositories.
        settings: How images are built.
        instance: Which platform this is.
        drafts: How drafts are built.
    """

    def __init__(
        self,
        stores: Stores,
        secrets: SecretValues,
        builder: ImageBuilder | None,
        checkouts: Checkouts,
        settings: DockerSettings,
        instance: str,
        drafts: DraftBuilds,
    ) -> None:
        self._stores = stores
        self._secrets = secrets
        self._builder = builder
        self._checkouts = checkouts
        self._settings = settings
        self._instance = instance
        self._drafts = drafts
        self._runner = asyncio.Lock()

    @activity.defn(name="images.begin")
    async def begin(self, order: BuildOrder) -> BuildBounds:
        """Record the task by which users follow the build; one that failed before begins anew."""
        await self._stores.documents.delete(Collection.BUILD_LOGS, order.task_id)
        async with self._stores.write() as rows:
            await rows.tasks.reopen(order.task(datetime.now(UTC)))
        return BuildBounds(timeout=self._settings.build_timeout)

    @activity.defn(name="images.build")
    async def build(self, order: BuildOrder) -> BuiltImage:
        """Build the image of a revision, unless there is one of the same content, and record it."""
        build = self._new_build(order.task_id)
        async with beating(), build.telling():
            try:
                return await self._bounded(build, lambda: self._build(build, order))
            finally:
                await self._keep_log(build)

    @activity.defn(name="images.build_draft")
    async def build_draft(self, order: TrialOrder) -> str:
        """Build the image of a draft's server, so that it can be tried in a container; give its id.

        No revision refers to it, so that the sweep removes it when a day has passed.
        """
        build = self._new_build(order.task_id)
        turn = uuid5(_TURNS, f"{order.task_id}/{order.draft_key}/{order.server}")
        async with beating():
            try:
                async with self._drafts.turns.taken(order.owner_id, turn):
                    built = await self._bounded(build, lambda: self._build_draft(build, order))
            except NotTried as reason:
                raise _failed(str(reason)) from None
        return built.image

    def _new_build(self, task_id: str) -> _Build:
        return _Build(task_id, Mask(each for each in self._arguments if len(each) >= _SHORTEST_SECRET))

    async def _bounded(self, build: _Build, work: Callable[[], Awaitable[BuiltImage]]) -> BuiltImage:
        """Build within the time that there is; what goes wrong is told as Temporal tells it."""
        try:
            async with asyncio.timeout(self._settings.build_timeout):
                return await work()
        except TimeoutError:
            reason = f"the build took longer than {self._settings.build_timeout:g} s: {build.message}"
            raise _failed(reason) from None
        except (BuildFailed, Unresolvable) as failed:
            raise _failed(str(failed)) from None
        except DriverUnavailable as away:
            build.tell(build.progress, f"{away}; trying again")
            raise ApplicationError(str(away), type="EngineUnavailable") from None

    async def _build(self, build: _Build, order: BuildOrder) -> BuiltImage:
        slug, mcp_id, server = await self._server(order)
        built = await self._make(build, slug, server, _source(server), mcp_id)
        build.tell(95, "Recording the image")
        async with self._stores.write() as rows:
            await rows.revisions.set_image(order.deployment_id, order.revision, built.image)
        return built

    async def _build_draft(self, build: _Build, order: TrialOrder) -> BuiltImage:
        body = await self._stores.documents.get(Collection.DRAFTS, order.draft_key)
        try:
            server = McpConfig.model_validate(body).server(order.server)
        except ValueError as error:
            raise BuildFailed(str(error)) from None
        source = _source(server)
        if source.git is not None and source.git.token is not None:
            raise BuildFailed("a private repository is not fetched for a trial: its token is a secret")
        return await self._make(build, _TRIAL, server, source, None)

    async def _make(
        self, build: _Build, slug: str, server: ServerConfig, source: BuildSource, mcp_id: UUID | None
    ) -> BuiltImage:
        builder, began = self._engine(), time.monotonic()
        async with self._checkout(build, mcp_id, source) as checkout:
            tree = look_at(checkout) if checkout else None
            node = needs_node(source, tree, command_in_image(server))
            settings = await asyncio.to_thread(self._build_settings)
            runner, runner_id = await self._ensure_runner(build, builder, settings, node=node)
            plan = await asyncio.to_thread(
                lambda: server_plan(slug, source, runner, runner_id, settings, checkout, node=node)
            )
            image = await builder.image_id(plan.tag)
            built = image is None
            if image is None:
                image = await self._run(build, builder, plan, 40, 95)
        logger.info("image_ready", slug=slug, image=image, tag=plan.tag, built=built)
        return BuiltImage(
            image=image, tag=plan.tag, source=source.kind, built=built, seconds=time.monotonic() - began
        )

    @activity.defn(name="images.sweep")
    async def sweep(self) -> list[str]:
        """Remove images that no revision of an active deployment refers to; give their tags."""
        if self._builder is None:
            return []
        async with self._stores.read() as rows:
            used = await rows.images.in_use()
        try:
            removed = await self._builder.remove_unused(used, _SPARED)
        except DriverUnavailable as away:
            logger.info("images_not_swept", reason=str(away))
            return []
        if removed:
            logger.info("images_swept", tags=removed)
        return removed

    @property
    def _arguments(self) -> list[str]:
        return list(self._settings.build_arguments.values())

    def _engine(self) -> ImageBuilder:
        if self._builder is None:
            raise BuildFailed("the Docker engine is off; MCP_PLATFORM_DOCKER__ENABLED=true turns it on")
        return self._builder

    def _build_settings(self) -> BuildSettings:
        path = self._settings.build_ca_path
        try:
            certificates = path.read_bytes() if path else None
        except OSError as error:
            raise BuildFailed(f"MCP_PLATFORM_DOCKER__BUILD_CA_PATH cannot be read: {error}") from None
        return BuildSettings(
            self._instance, self._settings.user, self._settings.build_arguments, certificates
        )

    async def _server(self, order: BuildOrder) -> tuple[str, UUID, ServerConfig]:
        async with self._stores.read() as rows:
            deployment = await rows.deployments.get(order.deployment_id)
            revision = await rows.revisions.get(order.deployment_id, order.revision)
        body = revision and await self._stores.documents.get(Collection.CONFIGS, revision.config_key)
        if deployment is None or revision is None or body is None:
            raise BuildFailed(f"revision {order.revision} of the deployment has no record")
        try:
            server = McpConfig.model_validate(body).server(revision.config.server)
        except ValueError as error:
            raise BuildFailed(str(error)) from None
        return deployment.slug, deployment.mcp_id, server

    @asynccontextmanager
    async def _checkout(
        self, build: _Build, mcp_id: UUID | None, source: BuildSource
    ) -> AsyncIterator[Path | None]:
        """Get the repository for as long as the body runs; None where the source is none."""
        if source.git is None:
            yield None
            return
        build.tell(5, f"Fetching {source.git.url}")
        token = source.git.token
        if token is not None and mcp_id is not None:
            variables = await self._secrets.variables(mcp_id, references(token))
            token = variables.resolve(token)
        with tempfile.TemporaryDirectory(prefix="mcp-platform-build-", ignore_cleanup_errors=True) as name:
            folder = Path(name) / "tree"
            folder.mkdir()
            checkouts = self._checkouts if mcp_id is not None else self._drafts.checkouts
            commit = await checkouts.fetch(source.git, token, folder)
            build.transcript.add(f"Fetched {source.git.url} at {commit}")
            tree = folder / source.git.path if source.git.path else folder
            if not tree.is_dir() or not tree.resolve().is_relative_to(folder.resolve()):
                raise BuildFailed(f"the repository has no folder {source.git.path} (build.git.path)")
            yield tree.resolve()

    async def _ensure_runner(
        self, build: _Build, builder: ImageBuilder, settings: BuildSettings, *, node: bool
    ) -> tuple[str, str]:
        """Give tag and id of the image with the runner, which all servers on one base share."""
        base = self._settings.node_image if node else self._settings.python_image
        build.tell(10, f"Getting the base image {base}")
        try:
            base_id = await builder.ensure_pulled(base)
        except BuildFailed as failed:
            name = f"MCP_PLATFORM_DOCKER__{'NODE' if node else 'PYTHON'}_IMAGE"
            raise BuildFailed(
                f"the base image {base} cannot be had: {failed};"
                f" set {name} to one that the engine has or can pull"
            ) from None
        plan = await asyncio.to_thread(runner_plan, base, base_id, settings)
        async with self._runner:
            image = await builder.image_id(plan.tag) or await self._run(build, builder, plan, 15, 40)
        return plan.tag, image

    async def _run(self, build: _Build, builder: ImageBuilder, plan: ImagePlan, begin: int, end: int) -> str:
        def began(step: Step) -> None:
            words = plan.words[min(step.number, len(plan.words)) - 1]
            build.tell(percent_of(step, begin, end), f"Step {step.number} of {step.total}: {words}")

        return await builder.build(plan, build.transcript, began)

    async def _keep_log(self, build: _Build) -> None:
        """Keep what was written; without it, the image is as good."""
        transcript = build.transcript
        if not transcript.lines:
            return
        log = BuildLog(task_id=build.task_id, lines=transcript.lines, left_out=transcript.left_out)
        await to_its_end(
            self._stores.documents.put(Collection.BUILD_LOGS, log.task_id, log.model_dump(mode="json"))
        )


class _Build:
    """One build that goes on: what it wrote, how far it is, and who is told."""

    def __init__(self, task_id: str, mask: Mask) -> None:
        self.task_id = task_id
        self.transcript = BuildTranscript(mask)
        self.progress = 0
        self.message = "Queued"
        self._news = asyncio.Event()

    def tell(self, progress: int, message: str) -> None:
        """Let the workflow know how far it is; of several at once the last one counts."""
        self.progress, self.message = progress, message
        self._news.set()

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Signal what is told, one after the other, and the last before this ends."""
        handle = activity.client().get_workflow_handle(self.task_id)
        told: BuildProgress | None = None

        async def signal() -> None:
            while True:
                await self._news.wait()
                await send()

        async def send() -> None:
            nonlocal told
            self._news.clear()
            news = self._news_now()
            try:
                await handle.signal(BUILD_PROGRESS, news)
                told = news
            except RPCError as error:
                # The build goes on without an audience.
                logger.warning("build_progress_not_told", task_id=self.task_id, error=str(error))

        sending = asyncio.create_task(signal())
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            if told != self._news_now():
                await send()

    def _news_now(self) -> BuildProgress:
        return BuildProgress(progress=self.progress, message=self.message)


def _source(server: ServerConfig) -> BuildSource:
    try:
        return build_source(server)
    except ValueError as error:
        raise BuildFailed(str(error)) from None


def _failed(reason: str) -> ApplicationError:
    return ApplicationError(reason[:_LONGEST_REASON], type="BuildFailed", non_retryable=True)
