"""Images of drafts: repositories are fetched by the rules, and in turn with the account's trials."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.building import BuildFailed
from activities.images import ImageActivities
from mcp_platform.contracts.checks import TrialOrder
from mcp_platform.contracts.images import GitSource
from mcp_platform.names import Collection
from mcp_platform.security.sealing import load_sealer
from mcp_platform.variables import Variables
from storage.secrets import SecretValues
from storage.stores import Stores
from tests.images.git_server import git_server
from tests.platform import RunningPlatform
from worker import rooms


@pytest.fixture
async def images(platform: RunningPlatform) -> AsyncIterator[ImageActivities]:
    """Give the activities as a worker has them that connects to no private address."""
    settings, stores = platform.settings, platform.parts.stores
    settings = settings.model_copy(
        update={
            "docker": settings.docker.model_copy(update={"enabled": True, "host": "unix:///nowhere"}),
            "gateway": settings.gateway.model_copy(update={"private_addresses": False}),
        }
    )
    secrets = SecretValues(stores.database, load_sealer(settings), Variables({}, []))
    async with AsyncExitStack() as stack:
        yield rooms._images(settings, stores, secrets, stack)


async def build(images: ImageActivities, stores: Stores, url: str, owner_id: UUID) -> str:
    """Build the image of a server that a repository has."""
    task_id = f"trial-{uuid4()}"
    server = {"name": "a", "command": "python", "args": ["a.py"], "build": {"git": {"url": url}}}
    await stores.documents.put(Collection.DRAFTS, f"{task_id}/1", {"servers": [server]})
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=10))
    order = TrialOrder(task_id=task_id, owner_id=owner_id, draft_key=f"{task_id}/1")
    image: str = await environment.run(images.build_draft, order)
    return image


async def test_a_drafts_repository_is_fetched_from_no_private_address(
    images: ImageActivities, platform: RunningPlatform, tmp_path: Path
) -> None:
    async with git_server(tmp_path) as server:
        url = server.add("a.git", {"a.py": ""})
        with pytest.raises(ApplicationError, match=r"does not connect to 127\.0\.0\.1"):
            await build(images, platform.parts.stores, url, uuid4())


async def test_a_build_of_a_draft_counts_among_the_accounts_trials(
    images: ImageActivities, platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, owner_id = platform.parts.stores, uuid4()
    before = await stores.trials.replica_ids()
    during: set[UUID] = set()

    async def fetch(_self: Any, _source: GitSource, _token: str | None, _target: Path) -> str:
        during.update(await stores.trials.replica_ids() - before)
        raise BuildFailed("there is no such repository")

    monkeypatch.setattr("activities.clients.checkouts.GitCheckouts.fetch", fetch)
    with pytest.raises(ApplicationError, match="no such repository"):
        await build(images, stores, "https://example.com/a.git", owner_id)
    assert len(during) == 1
    assert not during & await stores.trials.replica_ids()
