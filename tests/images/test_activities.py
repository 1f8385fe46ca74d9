"""What a build says when it is not the source's fault, and what is cleared away afterwards."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.checks.turns import Turns
from activities.clients.checkouts import GitCheckouts
from activities.clients.docker_engine import DockerEngine
from activities.clients.image_builder import DockerImageBuilder
from activities.images import DraftBuilds, ImageActivities
from mcp_platform.contracts.deployments import DeploymentReport
from mcp_platform.contracts.images import BuildOrder, BuiltImage
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.security.sealing import load_sealer
from mcp_platform.variables import Variables
from storage.secrets import SecretValues
from tests.images.builds import FIRST_BUILD, TINY, Builds
from tests.images.git_server import GitServer
from tests.images.test_failures import PROJECT, WAITS, python_server

pytestmark = pytest.mark.timeout(FIRST_BUILD + 60)


async def build(builds: Builds, order: BuildOrder, enabled: bool = True, **changes: Any) -> BuiltImage:
    """Build with other settings than the platform's."""
    platform = builds.platform
    settings = platform.settings.docker.model_copy(update=changes)
    environment = ActivityEnvironment(client=platform.parts.temporal)
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=10))
    stores = platform.parts.stores
    secrets = SecretValues(stores.database, load_sealer(platform.settings), Variables({}, []))
    engine = DockerImageBuilder(DockerEngine(settings), platform.settings.instance_id)
    room = ImageActivities(
        stores,
        secrets,
        engine if enabled else None,
        GitCheckouts(),
        settings,
        platform.settings.instance_id,
        DraftBuilds(GitCheckouts(private=True), Turns(stores.trials, most=2)),
    )
    try:
        return await environment.run(room.build, order)
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        (
            {"python_image": "127.0.0.1:1/no/base:1"},
            "BuildFailed",
            "the base image 127.0.0.1:1/no/base:1 cannot be had: .*"
            " set MCP_PLATFORM_DOCKER__PYTHON_IMAGE to one that the engine has or can pull",
        ),
        (
            {"host": "unix:///nowhere/docker.sock"},
            "EngineUnavailable",
            "the Docker engine at unix:///nowhere/docker.sock cannot be reached",
        ),
        ({"enabled": False}, "BuildFailed", "MCP_PLATFORM_DOCKER__ENABLED=true turns it on"),
    ],
)
async def test_what_an_operator_has_to_mend_is_named(
    builds: Builds, changes: dict[str, Any], kind: str, reason: str
) -> None:
    order, _ = await builds.order(TINY)
    with pytest.raises(ApplicationError, match=reason) as failed:
        await build(builds, order, **changes)
    assert failed.value.type == kind
    assert failed.value.non_retryable == (kind == "BuildFailed")


async def test_a_build_that_takes_too_long_is_ended_and_says_where_it_was(
    builds: Builds, repositories: GitServer
) -> None:
    # So that the time goes by in the step that waits.
    await builds.image(TINY)
    url = repositories.add("waits.git", {"pyproject.toml": PROJECT, "backend.py": WAITS})
    order, slug = await builds.order(python_server(url))
    with pytest.raises(ApplicationError, match=r"the build took longer than 5 s: \w+ \w+"):
        await build(builds, order, build_timeout=5.0)
    assert builds.leftovers(slug) == []


async def test_images_of_deployments_that_are_gone_are_removed_and_others_stay(builds: Builds) -> None:
    gone, used, young = [await builds.start(TINY) for _ in range(3)]
    images = [(await each.result())["image"] for each in (gone, used, young)]
    async with builds.platform.parts.stores.write() as rows:
        deployment = await rows.deployments.get(gone.order.deployment_id)
        assert deployment is not None
        await rows.deployments.report(DeploymentReport.stopped(deployment, "it is not wanted any more"))
    engine = DockerEngine(DockerSettings(host=builds.engine.host))
    try:
        own = DockerImageBuilder(engine, builds.platform.settings.instance_id)
        async with builds.platform.parts.stores.read() as rows:
            in_use = await rows.images.in_use()
        assert images[0] not in in_use
        assert {images[1], images[2]} <= in_use
        assert await own.remove_unused(in_use, timedelta(days=1)) == []
        assert await DockerImageBuilder(engine, "another").remove_unused(set(), timedelta(0)) == []
        removed = await own.remove_unused(in_use, timedelta(0))
    finally:
        await engine.close()
    names = {tag.partition(":")[0] for tag in removed}
    assert f"mcp-platform/{gone.slug}" in names
    assert not names & {f"mcp-platform/{used.slug}", f"mcp-platform/{young.slug}", "mcp-platform-runner"}
