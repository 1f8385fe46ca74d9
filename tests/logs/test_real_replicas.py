"""The log of a real replica, from its server to the API."""

from typing import Any
from uuid import uuid4

from tests.deployments.servers import python
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

TALKS = (
    "import os, runpy, sys\n"
    "for number in range(2000): print('INFO line', number, file=sys.stderr)\n"
    "print('ERROR: cannot sign in with', os.environ['PASSWORD'], file=sys.stderr)\n"
    "sys.argv = ['mcp_server_time', '--local-timezone', 'UTC']\n"
    "runpy.run_module('mcp_server_time', run_name='__main__')"
)
SECRET = "the-password-of-the-database"


async def lines_of(caller: Caller, deployment_id: str, **asked: Any) -> list[dict[str, Any]]:
    """Read a deployment's log."""
    answer = await caller.get(f"/api/v1/deployments/{deployment_id}/logs", params={"limit": 5000} | asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["lines"]
    return found


async def test_every_line_of_a_server_is_kept_without_its_secrets(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    name = f"PASSWORD_{uuid4().hex[:8].upper()}"
    assert (await admin.put(f"/api/v1/secrets/{name}", json={"value": SECRET})).status_code == 201
    started = await admin.deploy(python(TALKS) | {"env": {"PASSWORD": f"${{{name}}}"}}, replicas=2)
    try:
        running = await admin.deployment_is(started["deployment_id"], "running")
        complaints = await eventually(
            lambda: lines_of(admin, started["deployment_id"], level="error"), lambda seen: len(seen) == 2
        )
        assert {each["text"] for each in complaints} == {"ERROR: cannot sign in with ***"}
        assert {each["replica"] for each in complaints} == {each["id"] for each in running["replicas"]}
        for ordinal in (0, 1):
            said = await lines_of(admin, started["deployment_id"], replica=ordinal, search="INFO line")
            assert [each["text"] for each in said] == [f"INFO line {number}" for number in range(2000)]
            assert {each["stream"] for each in said} == {"stderr"}
    finally:
        await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    # What it wrote outlives it.
    assert len(await lines_of(admin, started["deployment_id"], search="INFO line")) == 4000
    for path in platform.settings.replica_log_folder.rglob("*.log"):
        assert SECRET not in path.read_text()
