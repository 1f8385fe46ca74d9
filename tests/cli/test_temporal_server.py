"""The embedded Temporal server, driven with the real program."""

import asyncio
import os
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, TypeVar
from uuid import uuid4

import httpx
import psutil
import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from mcp_platform.cli import temporal_server
from mcp_platform.cli.temporal_program import locked
from mcp_platform.cli.temporal_server import TemporalServer, TemporalUnavailable, find_or_get
from mcp_platform.settings import TemporalSettings
from tests.platform import free_port

T = TypeVar("T")


@pytest.fixture(scope="session")
async def program() -> Path:
    return await find_or_get(TemporalSettings(), lambda line: None)


def a_server(program: Path, data_dir: Path) -> TemporalServer:
    return TemporalServer(program, data_dir, port=free_port(), ui_port=free_port())


@pytest.fixture
async def server(program: Path, tmp_path: Path) -> AsyncIterator[TemporalServer]:
    async with a_server(program, tmp_path) as running:
        yield running


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"still not so after {seconds:g} s")


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def begin_workflow(address: str) -> tuple[Client, str]:
    client = await Client.connect(address)
    workflow_id = str(uuid4())
    await client.start_workflow("no_worker_runs_this", id=workflow_id, task_queue="none")
    return client, workflow_id


async def once_back(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until a server that starts again answers: the client alone gives up after ten seconds."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except RPCError:
                await asyncio.sleep(0.1)


async def test_once_entered_the_frontend_and_the_web_ui_answer(server: TemporalServer) -> None:
    await begin_workflow(server.address)
    async with httpx.AsyncClient(timeout=10) as http:
        assert (await http.get(server.ui_url, follow_redirects=True)).status_code == 200


async def test_a_killed_server_comes_back_at_the_same_address_with_its_history(
    server: TemporalServer,
) -> None:
    client, workflow_id = await begin_workflow(server.address)
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await until(lambda: server.pid not in {None, before})
    history = await once_back(client.get_workflow_handle(workflow_id).fetch_history)
    assert len(history.events) >= 2


async def test_a_server_killed_again_and_again_still_comes_back(server: TemporalServer) -> None:
    client, workflow_id = await begin_workflow(server.address)
    seen = {server.pid}
    for _ in range(3):
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.pid not in {None, *seen})
        seen.add(server.pid)
    description = await once_back(client.get_workflow_handle(workflow_id).describe)
    assert description.id == workflow_id


async def test_leaving_ends_the_server_and_the_next_start_has_its_history(
    program: Path, tmp_path: Path
) -> None:
    async with a_server(program, tmp_path) as first:
        pid = first.pid
        _, workflow_id = await begin_workflow(first.address)
    assert pid is not None
    assert ended(pid)
    assert first.pid is None
    async with a_server(program, tmp_path) as second:
        client = await Client.connect(second.address)
        description = await client.get_workflow_handle(workflow_id).describe()
    assert description.id == workflow_id


async def test_ctrl_c_at_the_terminal_does_not_reach_the_server(server: TemporalServer) -> None:
    assert server.pid is not None
    assert os.getsid(server.pid) != os.getsid(0)


async def test_a_stale_server_of_the_same_folder_is_ended_first(program: Path, tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    options = ["--headless", "--port", str(free_port()), "--db-filename", str(database)]
    stale = await asyncio.create_subprocess_exec(
        program, "server", "start-dev", *options, stdout=asyncio.subprocess.DEVNULL
    )
    (tmp_path / "temporal.pid").write_text(str(stale.pid))
    await until(database.exists)
    async with a_server(program, tmp_path) as server:
        async with asyncio.timeout(30):
            await stale.wait()
        assert server.pid is not None


async def test_a_foreign_process_that_inherited_the_recorded_id_is_left_alone(
    program: Path, tmp_path: Path
) -> None:
    foreign = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    (tmp_path / "temporal.pid").write_text(str(foreign.pid))
    async with a_server(program, tmp_path):
        pass
    await foreign.communicate(b"\n")
    assert foreign.returncode == 0


async def test_a_folder_in_use_is_refused(program: Path, server: TemporalServer, tmp_path: Path) -> None:
    with pytest.raises(TemporalUnavailable, match="in use by another running platform"):
        async with a_server(program, tmp_path):
            pass
    await begin_workflow(server.address)


@pytest.mark.parametrize(
    ("taken", "option"), [("port", "--temporal-port"), ("ui_port", "--temporal-ui-port")]
)
async def test_a_taken_port_is_named_with_the_option_that_changes_it(
    program: Path, tmp_path: Path, taken: str, option: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ports = {"port": free_port(), "ui_port": free_port(), taken: port}
        with pytest.raises(TemporalUnavailable, match=f"port {port} is taken .*; choose .* {option}$"):
            async with TemporalServer(program, tmp_path, **ports):
                pass


async def test_a_folder_that_cannot_be_written_is_named(program: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TemporalUnavailable, match=r"file/data cannot be written.*--data-dir"):
        async with a_server(program, tmp_path / "file" / "data"):
            pass


async def test_a_server_that_ends_at_its_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "temporal"
    broken.write_text("#!/bin/sh\necho the disk is full >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(TemporalUnavailable, match="the disk is full"):
        async with a_server(broken, tmp_path):
            pass


async def test_a_log_that_grew_too_large_is_put_aside(program: Path, tmp_path: Path) -> None:
    log = tmp_path / "temporal.log"
    with log.open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    async with a_server(program, tmp_path):
        assert log.stat().st_size < 1024 * 1024
        assert log.with_name("temporal.log.1").stat().st_size == 11 * 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's parent-death signal")
async def test_the_server_does_not_outlive_a_killed_owner(program: Path, tmp_path: Path) -> None:
    owner_code = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from mcp_platform.cli.temporal_server import TemporalServer

        async def main():
            path, folder = Path({str(program)!r}), Path({str(tmp_path)!r})
            async with TemporalServer(path, folder, port={free_port()}, ui_port={free_port()}) as server:
                sys.stdout.write(f"{{server.pid}}\\n")
                sys.stdout.flush()
                await asyncio.Event().wait()

        asyncio.run(main())
        """
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", owner_code, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    async with asyncio.timeout(90):
        pid = int(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    await until(lambda: ended(pid))
    async with a_server(program, tmp_path) as server:
        assert server.pid is not None


async def test_a_start_that_is_given_up_while_it_locks_the_folder_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locking, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def slowly(path: Path) -> IO[str] | None:
        locking.set()
        go_on.wait(30)
        try:
            return locked(path)
        finally:
            over.set()

    monkeypatch.setattr(temporal_server, "locked", slowly)
    starting = asyncio.create_task(a_server(Path(sys.executable), tmp_path).__aenter__())
    assert await asyncio.to_thread(locking.wait, 30)
    starting.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await asyncio.to_thread(over.wait, 30)
    free = locked(tmp_path / "temporal.pid")
    assert free is not None
    free.close()
