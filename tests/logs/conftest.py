"""A deployment whose log tests write themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from mcp_platform.contracts.deployments import DeploymentState, Driver
from mcp_platform.contracts.logs import LogLine
from storage.logs import LogBook
from tests.logs.books import order
from tests.platform import Caller, RunningPlatform
from tests.storage.samples import content, deployment
from tests.storage.samples import mcp as sample_mcp


@dataclass(frozen=True)
class Written:
    """A deployment of this caller, and the log that its replicas seem to write."""

    id: UUID
    slug: str
    tool_id: str
    caller: Caller
    book: LogBook

    @property
    def path(self) -> str:
        """Where its log is read."""
        return f"/api/v1/deployments/{self.id}/logs"

    async def write(self, lines: list[LogLine], ordinal: int = 0, revision: int = 1) -> None:
        """Write as one of its replicas does."""
        await self.book.of(order(self.id, ordinal, revision)).write(lines)


@pytest.fixture(scope="module")
async def owner(platform: RunningPlatform) -> Caller:
    """Give a developer, the same for the tests of one module."""
    return await platform.member()


@asynccontextmanager
async def deployed_by(platform: RunningPlatform, owner: Caller, author: Caller) -> AsyncIterator[Written]:
    """Give a deployment without a workflow, which writes nothing by itself."""
    mcp = await author.register_mcp({"servers": [{"name": "far", "url": "http://127.0.0.1:9/mcp"}]})
    # It began so late that nobody thinks yet that its workflow was forgotten.
    new = deployment(
        sample_mcp(id=mcp["id"], slug=mcp["slug"]),
        owner_id=(await owner.get("/api/v1/auth/me")).json()["id"],
        driver=Driver.REMOTE,
        status=DeploymentState.RUNNING,
        deployed_at=datetime.now(UTC) + timedelta(days=1),
    )
    async with platform.parts.stores.write() as rows:
        await rows.deployments.add(new, content(new))
    book = LogBook(platform.settings.replica_log_folder, platform.settings.replica_logs)
    async with book.open():
        yield Written(new.id, new.slug, str(new.mcp_id), owner, book)
        assert (await owner.delete(f"/api/v1/deployments/{new.id}")).status_code == 200
        await book.forget(new.id)


@pytest.fixture
async def deployed(platform: RunningPlatform, owner: Caller) -> AsyncIterator[Written]:
    """Give such a deployment, of an MCP of its owner."""
    async with deployed_by(platform, owner, owner) as written:
        yield written
