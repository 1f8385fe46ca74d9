"""The servers that tests run against are there, and never outlive the tests."""

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from tests.services.process import unavailable

_HOLDER = """
import sys, time
from pathlib import Path
from tests.services.mariadb import mariadb_server
from tests.services.mongodb import mongo_server
from tests.services.redis import redis_server
with mariadb_server(), mongo_server(), redis_server(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


async def test_temporal_answers(temporal: Client) -> None:
    assert await temporal.service_client.check_health()


async def test_a_test_run_that_is_killed_leaves_no_server_behind(
    tmp_path: Path, mongo_url: str, redis_url: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("mariadb")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, str(tmp_path), stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert run.stdout is not None
        async with asyncio.timeout(80):
            assert await run.stdout.readline() == b"ready\n"
        servers = psutil.Process(run.pid).children(recursive=True)
        assert len(servers) == 3
    finally:
        run.kill()
        await run.wait()
    deadline = time.monotonic() + 30
    while any(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in servers):
        assert time.monotonic() < deadline, servers
        await asyncio.sleep(0.02)


def test_a_server_that_is_not_there_skips_a_test_and_in_ci_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        unavailable("no such thing")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        unavailable("no such thing")
