"""Who may read the logs of a deployment: its owner, the author of its MCP, and administrators."""

from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.logs.books import lines
from tests.logs.conftest import Written, deployed_by
from tests.logs.test_live_logs import open_log_socket, open_stream
from tests.platform import Caller, RunningPlatform
from tests.tasks.sockets import Socket


@pytest.fixture(scope="module")
async def author(platform: RunningPlatform) -> Caller:
    """Give a developer whose MCP somebody else deployed."""
    return await platform.member()


@pytest.fixture
async def shared(platform: RunningPlatform, owner: Caller, author: Caller) -> AsyncIterator[Written]:
    """Give a deployment of that MCP, with a line in its log."""
    async with deployed_by(platform, owner, author) as written:
        await written.write(lines(0, 1))
        yield written


async def first_line(socket: Socket) -> str:
    """Receive the first line that a socket tells."""
    text: str = (await socket.next())["lines"][0]["text"]
    return text


@pytest.mark.parametrize("who", ["owner", "author", "administrator"])
async def test_those_whom_it_concerns_read_a_log(
    platform: RunningPlatform, owner: Caller, author: Caller, shared: Written, who: str
) -> None:
    reader = {"owner": owner, "author": author}.get(who) or await platform.admin()
    assert (await reader.get(shared.path)).json()["lines"][0]["text"] == "line 0"
    async with open_stream(shared, reader) as stream:
        assert await stream.texts(1) == ["line 0"]
    async with open_log_socket(platform, shared, f"token={reader.token}") as socket:
        assert await first_line(socket) == "line 0"


@pytest.mark.parametrize("role", ["viewer", "developer"])
async def test_others_who_may_see_the_deployment_are_told_why_they_may_not(
    platform: RunningPlatform, shared: Written, role: str
) -> None:
    other = await platform.member(role)
    assert (await other.get(f"/api/v1/deployments/{shared.id}")).status_code == 200
    for tail in ("", "/stream"):
        answer = await other.get(shared.path + tail)
        assert (answer.status_code, answer.json()["required_permission"]) == (403, "deployments:all")
        assert answer.json()["detail"].startswith("Only its owner, the author of its MCP")
        assert "line 0" not in answer.text
    with pytest.raises(InvalidStatus) as refused:
        async with open_log_socket(platform, shared, f"token={other.token}"):
            pass
    assert refused.value.response.status_code == 403


async def test_a_key_that_may_only_read_deployments_reads_the_logs_of_its_owner_alone(
    platform: RunningPlatform, shared: Written
) -> None:
    admin = await platform.admin()
    order = {"name": "reading", "scopes": ["deployments:read"]}
    for person, status in ((shared.caller, 200), (admin, 403)):
        limited = platform.caller()
        limited.headers["X-API-Key"] = (await person.post("/api/v1/auth/api-keys", json=order)).json()["key"]
        assert (await limited.get(shared.path)).status_code == status
