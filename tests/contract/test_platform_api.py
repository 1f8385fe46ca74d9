"""The Platform API is what its contract says, request by request, on each kind of store."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp.server.mcpserver import MCPServer
from temporalio.testing import WorkflowEnvironment

from mcp_platform.cli.serving import listening_socket, serving
from mcp_platform.settings import CacheSettings, DocumentSettings, SqlSettings
from tests.contract.document import PATH, code, sections
from tests.contract.walk import TASK, Walk
from tests.github.double import GitHubDouble
from tests.platform import free_port, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.waiting import in_one_task

# The first test of each kind of store takes the whole walk.
pytestmark = pytest.mark.timeout(300)

SHARED = Path(__file__).parents[3] / "shared/contracts/platform-api.md"
TITLES = [section.title for section in sections()]


def weather_server() -> MCPServer:
    """Make a real MCP server with the document's tool."""
    server = MCPServer("weather")

    @server.tool()
    def get_weather(location: str) -> dict[str, str | int]:
        return {
            "location": location,
            "temperature": 18,
            "conditions": "Partly Cloudy",
            "humidity": 65,
            "wind_speed": 12,
        }

    return server


@pytest.fixture(scope="module", params=["embedded stores", "servers"])
async def walk(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    temporal_environment: WorkflowEnvironment,
) -> AsyncIterator[Walk]:
    """Walk through the whole document once, on each kind of store."""
    settings = quick_settings(tmp_path_factory.mktemp("contract"))
    if request.param == "servers":
        mariadb = request.getfixturevalue("mariadb")
        mariadb.run("CREATE DATABASE contract")
        settings = settings.model_copy(
            update={
                "sql": SqlSettings.model_validate({"url": mariadb.url("contract")}),
                "documents": DocumentSettings.model_validate(
                    {"url": request.getfixturevalue("mongo_url"), "database": "contract"}
                ),
                "cache": CacheSettings.model_validate({"url": request.getfixturevalue("redis_url")}),
            }
        )
    client = await new_namespace(temporal_environment.client)
    port = free_port()
    listener = listening_socket("127.0.0.1", port, "")
    async with (
        in_one_task(serving(weather_server().streamable_http_app(), listener)),
        in_one_task(GitHubDouble(tmp_path_factory.mktemp("github")).running()) as github,
        in_one_task(running_platform(settings, client)) as platform,
    ):
        taken = Walk(platform, f"http://127.0.0.1:{port}/mcp", github)
        await taken.take()
        yield taken
    if request.param == "servers":
        mariadb.run("DROP DATABASE contract")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared contract is beside the project's checkouts only")
def test_our_copy_of_the_contract_is_the_contract() -> None:
    assert PATH.read_text() == SHARED.read_text()


def test_the_document_is_read_whole() -> None:
    assert PATH.read_text().count("curl -X") == len(TITLES)


@pytest.mark.parametrize("title", TITLES)
async def test_a_request_of_the_contract_is_answered_as_it_promises(walk: Walk, title: str) -> None:
    assert walk.problems[title] == []


async def test_the_websocket_program_of_the_contract_prints_the_result(walk: Walk) -> None:
    program = code("Connect to WebSocket", "python").replace("localhost:8000", walk.platform.url[7:])
    for standing in ("YOUR_ACCESS_TOKEN", TASK):
        program = program.replace(standing, walk.known[standing])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "'score'" in out.decode().partition("Result: ")[2]
