"""The folder `temporal/`, against the code that it goes with and a real server."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_platform.cli.temporal_server import DYNAMIC_CONFIG, TemporalServer, find_or_get
from mcp_platform.names import TaskQueue
from mcp_platform.settings import TemporalSettings
from tests.architecture.source_tree import ROOT

FOLDER = ROOT / "temporal"


def dynamic_config(name: str) -> dict[str, list[dict[str, Any]]]:
    content: dict[str, list[dict[str, Any]]] = yaml.safe_load(
        (FOLDER / "dynamicconfig" / name).read_text(encoding="utf-8")
    )
    return content


def test_the_embedded_server_runs_with_what_the_file_for_development_says() -> None:
    values = {key: str(entries[0]["value"]).lower() for key, entries in dynamic_config("dev.yaml").items()}
    assert values == DYNAMIC_CONFIG


def test_production_has_one_partition_for_each_of_our_queues_and_no_other() -> None:
    content = dynamic_config("prod.yaml")
    for key in ("matching.numTaskqueueReadPartitions", "matching.numTaskqueueWritePartitions"):
        queues = {entry["constraints"]["taskQueueName"]: entry["value"] for entry in content[key]}
        assert queues == {str(queue): 1 for queue in TaskQueue}


def test_production_and_development_set_the_same_keys() -> None:
    assert set(dynamic_config("prod.yaml")) == set(dynamic_config("dev.yaml"))


@pytest.fixture
async def program() -> Path:
    return await find_or_get(TemporalSettings(), lambda line: None)


@pytest.fixture
async def server(program: Path, tmp_path: Path) -> AsyncIterator[TemporalServer]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, ui_port = one.getsockname()[1], two.getsockname()[1]
    async with TemporalServer(program, tmp_path, port=port, ui_port=ui_port) as running:
        yield running


async def set_up(program: Path, tmp_path: Path, **environment: str) -> tuple[int | None, str]:
    """Run temporal/setup.sh with this program as `temporal`."""
    tools = tmp_path / "tools"
    if not tools.exists():
        tools.mkdir()
        (tools / "temporal").symlink_to(program)
    shell = shutil.which("sh")
    assert shell is not None
    process = await asyncio.create_subprocess_exec(
        shell,
        FOLDER / "setup.sh",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment},
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_setting_up_twice_keeps_the_namespace_and_takes_the_newer_retention(
    program: Path, server: TemporalServer, tmp_path: Path
) -> None:
    where = {"TEMPORAL_ADDRESS": server.address, "TEMPORAL_NAMESPACE": "mcp-platform"}
    status, output = await set_up(program, tmp_path, **where)
    assert status == 0, output
    assert "Made the namespace mcp-platform, which keeps closed workflows for 7d" in output
    status, output = await set_up(program, tmp_path, **where, TEMPORAL_RETENTION="3d")
    assert status == 0, output
    assert "The namespace mcp-platform keeps closed workflows for 3d" in output


async def test_setting_up_without_a_server_says_where_none_answered(program: Path, tmp_path: Path) -> None:
    status, output = await set_up(program, tmp_path, TEMPORAL_ADDRESS="127.0.0.1:1", TEMPORAL_ATTEMPTS="1")
    assert status == 1
    assert output.strip() == "Temporal does not answer at 127.0.0.1:1"
