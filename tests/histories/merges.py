"""Histories of what is done around merges: pushes, checks of pull requests, deployments, looks at heads."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from mcp_platform.names import TaskQueue, check_workflow_id, deploy_workflow_id
from tests.deployments.servers import launched
from tests.github import test_checks, test_deploy_on_merge, test_pushing
from tests.github.double import GitHubDouble
from tests.github.syncs import bind, servers, unique
from tests.platform import Caller, RunningPlatform
from workflows.github_sync.watching import WatchHeadsWorkflow

Save = Callable[[str, str], Awaitable[None]]


async def record_merges(platform: RunningPlatform, admin: Caller, save: Save, save_ended: Save) -> None:
    """Push, check and deploy; find nothing, be refused, roll back and be told of more meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        async with GitHubDouble(Path(folder)).running() as github:
            await _pushes(platform, github, save)
            await _checks(platform, github, save_ended)
            await _deployments(platform, github, admin, save_ended, Path(folder))
            await platform.parts.temporal.execute_workflow(
                WatchHeadsWorkflow.run, id="heads", task_queue=TaskQueue.ORCHESTRATION
            )
            await save("heads_seen", "heads")


async def _pushes(platform: RunningPlatform, github: GitHubDouble, save: Save) -> None:
    slug = unique("pushed")
    bound = await bind(platform, github, {"mcp.json": servers(slug, unique("other"))})
    await bound.sync()
    await save("push_found_nothing", (await test_pushing.push(bound))["task_id"])
    await test_pushing.change(bound, slug)
    await save("push_completed", (await test_pushing.push(bound))["task_id"])
    bound.repository.protected = ".*"
    await test_pushing.change(bound, slug, "node")
    await save("push_failed", (await test_pushing.push(bound, "failed"))["task_id"])


async def _checks(platform: RunningPlatform, github: GitHubDouble, save_ended: Save) -> None:
    slug = unique("checked")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await test_checks.hook(github, bound)
    slow = github.misbehave(delay=1.0, path="/pulls/1$", times=1)
    pull = await test_checks.proposed(github, bound, {"mcp.json": servers(slug, unique("new"))})
    await bound.repository.commit({"mcp.json": servers(slug, command="npx")}, branch=pull.head)
    await test_checks.tell(github, bound, pull, "synchronize")
    await test_checks.checked(bound, pull)
    github.troubles.remove(slow)
    await save_ended("check_of_a_newer_head", check_workflow_id(bound.id, pull.number))
    pull.state = "closed"
    await test_checks.tell(github, bound, pull, "reopened")
    await test_checks.checked(bound, pull, head="")
    await save_ended("check_of_a_closed_one", check_workflow_id(bound.id, pull.number))


async def _deployments(
    platform: RunningPlatform, github: GitHubDouble, admin: Caller, save_ended: Save, folder: Path
) -> None:
    slug = unique("deployed")
    path = f".mcp/{slug}.json"
    bound = await bind(platform, github, {"README.md": "x"}, caller=admin, deploy=True)
    await test_checks.hook(github, bound)
    for name, version in (("", "1.0.0"), ("deploy_on_merge", "1.1.0"), ("deploy_rolled_back", "9.0.0")):
        definition = test_deploy_on_merge.definition(slug, launched(folder, version))
        commit = await test_deploy_on_merge.merge(github, bound, {path: definition})
        told = await test_deploy_on_merge.deployed(bound, commit)
        if name:
            await save_ended(name, deploy_workflow_id(bound.id))
        else:
            await test_deploy_on_merge.by_hand(admin, told["mcp_id"])
    await admin.delete(f"/api/v1/deployments/{told['deployment_id']}")
