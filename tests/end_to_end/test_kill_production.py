"""Production's parts, each killed in turn: the others go on, and after its restart everything is true."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment

from mcp_platform.cli.temporal_server import TemporalServer, find_or_get
from mcp_platform.settings import TemporalSettings
from tests.deployments.servers import TIME
from tests.end_to_end.production import Production
from tests.end_to_end.programs import answers, kill_replica, replicas_of, state_is_true
from tests.platform import Caller, free_port
from tests.services.mariadb import MariaDb
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
"""A start alone may take as long as the programs' patience."""


def a_database(mariadb: MariaDb) -> str:
    """Make an empty database; its address."""
    name = f"production_{uuid4().hex[:8]}"
    mariadb.run(f"CREATE DATABASE {name}")
    return mariadb.url(name)


@pytest.fixture(scope="module")
async def production(
    mariadb: MariaDb, mongo_url: str, redis_url: str, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[Production]:
    """Give a production that runs; each test leaves it running."""
    address = temporal_environment.client.service_client.config.target_host
    production = Production(a_database(mariadb), mongo_url, redis_url, address)
    try:
        for command in ("migrate", "setup"):
            ended = await production.command(command)
            assert ended.status == 0, ended.stderr
        await production.restore()
        yield production
    finally:
        await production.close()


@pytest.fixture
async def admin(production: Production) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    await production.restore()
    caller = await production.admin()
    yield caller
    await production.restore()
    for entry in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        await caller.delete(f"/api/v1/deployments/{entry['deployment_id']}")


@pytest.fixture
async def deployed(production: Production, admin: Caller) -> dict[str, Any]:
    """Give a deployment of two replicas that runs."""
    started = await admin.deploy(TIME, replicas=2)
    await state_is_true(admin, production.instance_id, [started["slug"]], production.at_gateway(admin))
    return started


async def test_without_the_api_calls_go_on_and_replicas_heal(
    production: Production, admin: Caller, deployed: dict[str, Any]
) -> None:
    gateway = production.at_gateway(admin)
    victim = (await admin.deployment(deployed["deployment_id"]))["replicas"][0]
    await production.kill("api")
    await answers(gateway, deployed["slug"], times=10)
    await kill_replica(victim)
    await answers(gateway, deployed["slug"], times=10)
    await eventually(
        lambda: asyncio.to_thread(replicas_of, production.instance_id),
        lambda seen: victim["id"] in seen and victim["pid"] not in {each.pid for each in seen[victim["id"]]},
    )
    await production.start("api")
    await state_is_true(admin, production.instance_id, [deployed["slug"]], gateway)


async def test_without_the_gateway_replicas_stay_and_the_next_one_finds_them(
    production: Production, admin: Caller, deployed: dict[str, Any]
) -> None:
    before = await admin.deployment(deployed["deployment_id"])
    await production.kill("gateway")
    second = await admin.deploy(TIME)
    await admin.deployment_is(second["deployment_id"], "running")
    await production.start("gateway")
    slugs = [deployed["slug"], second["slug"]]
    await state_is_true(admin, production.instance_id, slugs, production.at_gateway(admin))
    after = await admin.deployment(deployed["deployment_id"])
    assert [replica["pid"] for replica in after["replicas"]] == [
        replica["pid"] for replica in before["replicas"]
    ]


async def test_without_a_worker_calls_are_told_to_wait_and_orders_are_kept(
    production: Production, admin: Caller, deployed: dict[str, Any]
) -> None:
    gateway = production.at_gateway(admin)
    await production.kill_worker()
    path = f"/mcp/{deployed['slug']}/v1/tools/get_current_time"
    refused = await gateway.post(path, json={"timezone": "UTC"})
    assert refused.status_code in {502, 503}, refused.text
    task = await admin.start_analysis()
    assert (await admin.task_is(task, "pending", "running"))["stale"]
    second = await admin.deploy(TIME)
    await production.start("worker")
    slugs = [deployed["slug"], second["slug"]]
    await state_is_true(admin, production.instance_id, slugs, gateway)
    await admin.task_is(task, "completed")


async def test_a_worker_killed_while_replicas_start_and_tasks_run_leaves_work_to_the_next_one(
    production: Production, admin: Caller
) -> None:
    tasks = await asyncio.gather(*(admin.start_analysis() for _ in range(20)))
    started = await admin.deploy(TIME, replicas=2)
    await eventually(lambda: asyncio.to_thread(replicas_of, production.instance_id))
    await production.kill_worker()
    await production.start("worker")
    gateway = production.at_gateway(admin)
    await state_is_true(admin, production.instance_id, [started["slug"]], gateway)
    ended = await asyncio.gather(*(admin.task_is(task, "completed", "failed") for task in tasks))
    assert {task["status"] for task in ended} == {"completed"}


async def test_everything_killed_at_once_comes_back(
    production: Production, admin: Caller, deployed: dict[str, Any]
) -> None:
    await production.kill("api")
    await production.kill("gateway")
    await production.kill_worker()
    await production.start("worker", "gateway", "api")
    gateway = production.at_gateway(admin)
    await state_is_true(admin, production.instance_id, [deployed["slug"]], gateway)


async def test_parts_that_are_asked_to_end_do_so_and_leave_nothing(
    production: Production, admin: Caller, deployed: dict[str, Any]
) -> None:
    for part in ("worker", "gateway", "api"):
        ended = await production.stop(part)
        assert (ended.status, ended.complaint) == (0, []), ended.stderr
    assert not replicas_of(production.instance_id)
    await production.start("worker", "gateway", "api")
    gateway = production.at_gateway(admin)
    await state_is_true(admin, production.instance_id, [deployed["slug"]], gateway)


async def test_commands_are_refused_in_production_unless_an_administrator_turned_them_on(
    production: Production, mongo_url: str, redis_url: str, mariadb: MariaDb
) -> None:
    address = production.environment["MCP_PLATFORM_TEMPORAL__ADDRESS"]
    strict = Production(a_database(mariadb), mongo_url, redis_url, address)
    del strict.environment["MCP_PLATFORM_REPLICAS__PROCESS_DRIVER"]
    try:
        for command in ("migrate", "setup"):
            assert (await strict.command(command)).status == 0
        await strict.start("api")
        admin = await strict.admin()
        mcp = await admin.register_mcp({"servers": [TIME]})
        order = {"tool_id": mcp["id"], "config": {"driver": "process"}}
        answer = await admin.post("/api/v1/deployments", json=order)
        assert answer.status_code == 409
        assert "process driver is off" in answer.json()["detail"]
        assert "MCP_PLATFORM_REPLICAS__PROCESS_DRIVER=true" in answer.json()["detail"]
        # Unless told, a command becomes a container here, for which an image has to be built.
        usual = await admin.post("/api/v1/deployments", json={"tool_id": mcp["id"]})
        assert usual.status_code == 422
        assert '"build"' in usual.json()["detail"][0]["msg"]
        assert (await admin.get("/api/v1/deployments")).json()["total"] == 0
    finally:
        await strict.close()


async def test_an_api_that_starts_before_temporal_finds_it_later(
    production: Production, tmp_path: Path
) -> None:
    port = free_port()
    early = Production(
        production.environment["MCP_PLATFORM_SQL__URL"],
        production.environment["MCP_PLATFORM_DOCUMENTS__URL"],
        production.environment["MCP_PLATFORM_CACHE__URL"],
        f"127.0.0.1:{port}",
    )
    early.environment["MCP_PLATFORM_TEMPORAL__NAMESPACE"] = "default"
    try:
        await early.start("api")
        admin = await early.admin()

        async def temporal() -> dict[str, Any]:
            part: dict[str, Any] = (await admin.get("/health")).json()["parts"]["temporal"]
            return part

        assert (await temporal())["status"] == "unhealthy"
        idea = {"config": {"name": "An idea", "description": "Tells the time"}}
        refused = await admin.post("/api/v1/analyze/feasibility", json=idea)
        assert refused.status_code == 503
        assert refused.json()["part"] == "temporal"
        assert int(refused.headers["Retry-After"]) >= 1
        program = await find_or_get(TemporalSettings(), lambda line: None)
        async with TemporalServer(program, tmp_path, port=port, ui_port=free_port()):
            await eventually(temporal, lambda part: part["status"] == "healthy")
            assert await admin.start_analysis()
    finally:
        await early.close()


@pytest.mark.parametrize(
    ("command", "away", "says"),
    [
        ("migrate", "SQL__URL=mysql+asyncmy://u:secret@127.0.0.1:1/x", "database cannot be reached"),
        ("migrate", "SQL__URL=nonsense", "MCP_PLATFORM_SQL__URL"),
        ("setup", "TEMPORAL__ADDRESS=127.0.0.1:1", "MCP_PLATFORM_TEMPORAL__ADDRESS"),
        ("worker", "TEMPORAL__ADDRESS=127.0.0.1:1", "MCP_PLATFORM_TEMPORAL__ADDRESS"),
        ("worker", "TEMPORAL__NAMESPACE=absent", "absent"),
        ("gateway", "SQL__URL=mysql+asyncmy://u:secret@127.0.0.1:1/x", "database cannot be reached"),
        ("gateway", "SECURITY__MASTER_KEY=short", "openssl rand -base64 32"),
        ("gateway", "CACHE__URL=nonsense", "Redis URL"),
    ],
)
async def test_a_part_that_cannot_start_says_why_in_a_line(
    production: Production, command: str, away: str, says: str
) -> None:
    name, _, value = away.partition("=")
    changed = {
        "MCP_PLATFORM_API__PORT": str(free_port()),
        "MCP_PLATFORM_GATEWAY__PORT": str(free_port()),
    }
    ended = await production.command(command, **changed | {f"MCP_PLATFORM_{name}": value})
    assert ended.status == 2, ended.stderr
    assert 1 <= len(ended.complaint) <= 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in " ".join(ended.complaint)
    assert says in " ".join(ended.complaint)
