"""A trial that is cancelled ends only when all that it made is gone."""

import asyncio
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from activities.checks import folders
from activities.checks.folders import trial_folder
from activities.checks.talk import Seen, Subject
from activities.checks.trials import Trials
from activities.clients.remotes import RemoteServer
from activities.drivers import ReplicaSpec
from mcp_platform.check_settings import TrialSettings
from mcp_platform.contracts.checks import SafeCall, TrialOrder
from mcp_platform.contracts.deployments import Driver
from tests.waiting import PATIENCE, eventually


class HeldDriver:
    """Takes its time over the end of what it started."""

    def __init__(self) -> None:
        self.removing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.folder = Path()
        self.folder_outlived_it = False

    async def ensure_running(self, spec: ReplicaSpec) -> RemoteServer:
        self.folder = Path(spec.server.cwd or "")
        return RemoteServer("http://127.0.0.1:9/mcp", "http://127.0.0.1:9/mcp", {})

    async def ensure_absent(self, replica_id: UUID) -> None:
        self.removing.set()
        await self.go_on.wait()
        self.folder_outlived_it = self.folder.is_dir()


class Sight:
    """Sees a server without tools."""

    async def look(self, subject: Subject, call: SafeCall | None, timeout: float) -> Seen:
        return Seen("2026-07-28", {}, [])


class Drafts:
    """The stores, as far as a trial needs them."""

    def __init__(self) -> None:
        self.documents = self.trials = self
        self.going_on: set[UUID] = set()

    async def get(self, *_: Any) -> dict[str, Any]:
        return {"servers": [{"name": "tried", "command": "python3"}]}

    async def begin(self, _owner: UUID, replica_id: UUID, _most: int) -> bool:
        self.going_on.add(replica_id)
        return True

    async def end(self, _owner: UUID, replica_id: UUID) -> None:
        self.going_on.discard(replica_id)


async def steps() -> None:
    """Let everybody have several turns."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_trial_that_is_cancelled_while_it_is_removed_ends_after_that() -> None:
    driver: Any = HeldDriver()
    stores: Any = Drafts()
    trials = Trials(stores, {Driver.PROCESS: driver}, Sight(), TrialSettings(at_once=1))
    order = TrialOrder(task_id="t", owner_id=uuid4(), draft_key="t/1", may_run_commands=True)
    trial = asyncio.create_task(trials.carry_out(order))
    await asyncio.wait_for(driver.removing.wait(), PATIENCE)
    for _ in range(2):
        trial.cancel()
        await steps()
    assert not trial.done()
    assert stores.going_on, "whoever sweeps would take it for one that nobody ends"
    driver.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert driver.folder_outlived_it
    assert not driver.folder.exists()
    assert stores.going_on == set()


async def test_a_folder_that_is_made_for_a_cancelled_trial_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on, make = threading.Event(), threading.Event(), folders._make
    made: list[Path] = []

    def slowly(folder: Path) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        make(folder)
        made.append(folder)

    async def enter() -> None:
        async with trial_folder(uuid4()):
            pytest.fail("it was cancelled before")

    monkeypatch.setattr(folders, "_make", slowly)
    entering = asyncio.create_task(enter())
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    entering.cancel()
    await steps()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    # Should anybody have gone on beside it.
    await eventually(lambda: asyncio.sleep(0, made))
    assert not made[0].exists()
