"""Roll-outs, the way back, restarts and gentle stops, with real replicas and calls that go on."""

import asyncio
from typing import Any

import pytest

from tests.deployments.servers import LEAVES_AT_ONCE, NEVER_SPEAKS, tiny
from tests.deployments.steady import steady_calls
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


async def running(admin: Caller, replicas: int = 2) -> dict[str, Any]:
    """Deploy the first version, and wait until all replicas answer."""
    started = await admin.deploy(tiny("one"), replicas=replicas)
    seen = await admin.deployment_is(started["deployment_id"], "running")
    return seen | {"slug": started["slug"], "path": f"/api/v1/deployments/{started['deployment_id']}"}


async def publish(admin: Caller, deployment: dict[str, Any], server: dict[str, Any], version: str) -> None:
    """Give the MCP another version."""
    order = {"version": version, "config": {"servers": [server]}}
    answer = await admin.put(f"/api/v1/mcps/{deployment['tool_id']}", json=order)
    assert answer.status_code == 200, answer.text


async def rolled(admin: Caller, deployment_id: str, revision: int, state: str) -> dict[str, Any]:
    """Wait until the roll-out of a revision has ended so."""
    return await eventually(
        lambda: admin.deployment(deployment_id),
        lambda seen: (
            seen["rollout"] and (seen["rollout"]["revision"], seen["rollout"]["state"]) == (revision, state)
        ),
    )


async def test_a_new_version_takes_over_without_a_failed_call(admin: Caller) -> None:
    deployment = await running(admin)
    await publish(admin, deployment, tiny("two"), "2.0.0")
    async with steady_calls(admin, deployment["slug"]) as answers:
        await eventually(lambda: _value(answers.count), lambda count: count > 10)
        answer = await admin.post(f"{deployment['path']}/rollout")
        assert answer.status_code == 202, answer.text
        assert (answer.json()["revision"], answer.json()["version"]) == (2, "2.0.0")
        done = await rolled(admin, deployment["deployment_id"], 2, "active")
        after = answers.count
        await eventually(lambda: _value(answers.count), lambda count: count > after + 10)
    unknown = await admin.post(f"{deployment['path']}/rollout", json={"version": "3.0.0"})
    assert unknown.status_code == 404
    assert unknown.json()["detail"].endswith("its newest versions are: 2.0.0, 1.0.0")
    assert answers.failures == []
    assert set(answers.words) == {"one", "two"}
    assert set(answers.words[-5:]) == {"two"}
    assert (done["status"], done["version"], done["revision"]) == ("running", "2.0.0", 2)
    assert [replica["revision"] for replica in done["replicas"]] == [2, 2]
    revisions = (await admin.get(f"{deployment['path']}/revisions")).json()["revisions"]
    assert [(each["number"], each["state"], each["cause"]) for each in revisions] == [
        (2, "active", "rollout"),
        (1, "superseded", "deploy"),
    ]


@pytest.mark.parametrize("bad", [LEAVES_AT_ONCE, NEVER_SPEAKS], ids=["leaves", "never-speaks"])
async def test_a_version_that_does_not_become_healthy_is_rolled_back_by_itself(
    admin: Caller, bad: dict[str, Any]
) -> None:
    deployment = await running(admin)
    await publish(admin, deployment, bad, "2.0.0")
    async with steady_calls(admin, deployment["slug"], rate=20) as answers:
        again = {"tool_id": deployment["tool_id"], "config": {"replicas": 2}}
        answer = await admin.post("/api/v1/deployments", json=again)
        assert answer.status_code == 202, answer.text
        assert answer.json()["deployment_id"] == deployment["deployment_id"]
        assert answer.json()["status"] == "updating"
        failed = await rolled(admin, deployment["deployment_id"], 2, "failed")
    assert answers.failures == []
    assert set(answers.words) == {"one"}
    assert failed["status"] == "rolled_back"
    assert failed["health_status"] == "healthy"
    assert "did not become healthy" in failed["reason"]
    assert (failed["version"], failed["revision"]) == ("1.0.0", 1)
    before = {replica["pid"] for replica in deployment["replicas"]}
    assert {replica["pid"] for replica in failed["replicas"]} == before


async def test_going_back_runs_what_ran_before(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    nothing = await admin.post(f"{deployment['path']}/rollback")
    assert nothing.status_code == 409
    assert "no earlier revision" in nothing.text
    await publish(admin, deployment, tiny("two"), "2.0.0")
    await admin.post(f"{deployment['path']}/rollout")
    await rolled(admin, deployment["deployment_id"], 2, "active")
    answer = await admin.post(f"{deployment['path']}/rollback")
    assert answer.status_code == 202, answer.text
    back = await rolled(admin, deployment["deployment_id"], 3, "active")
    assert (back["version"], back["rollout"]["cause"]) == ("1.0.0", "rollback")
    said = await admin.post(f"/mcp/{deployment['slug']}/v1/tools/say", json={})
    assert said.json()["word"] == "one"


async def test_a_restart_replaces_every_replica_without_a_failed_call(admin: Caller) -> None:
    deployment = await running(admin)
    async with steady_calls(admin, deployment["slug"]) as answers:
        answer = await admin.post(f"{deployment['path']}/restart")
        assert answer.status_code == 202, answer.text
        restarted = await rolled(admin, deployment["deployment_id"], 2, "active")
    assert answers.failures == []
    before = {replica["pid"] for replica in deployment["replicas"]}
    assert before.isdisjoint(replica["pid"] for replica in restarted["replicas"])


async def test_other_resources_make_a_new_revision(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    resources = {"cpu": "250m", "memory": "256Mi"}
    answer = await admin.patch(deployment["path"], json={"resources": resources, "replicas": 2})
    assert answer.status_code == 202, answer.text
    changed = await rolled(admin, deployment["deployment_id"], 2, "active")
    assert changed["config"]["resources"] == resources
    assert changed["rollout"]["cause"] == "change"
    assert changed["replicas_wished"] == 2
    answer = await admin.patch(deployment["path"], json={"resources": {"cpu": "500m"}})
    assert answer.status_code == 202, answer.text
    changed = await rolled(admin, deployment["deployment_id"], 3, "active")
    assert changed["config"]["resources"] == {"cpu": "500m", "memory": "256Mi"}
    answer = await admin.patch(deployment["path"], json={"resources": {"memory": "256Mi"}})
    assert answer.status_code == 200, "nothing is another than before"


async def test_a_server_that_is_named_is_not_taken_for_another(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    again = {"tool_id": deployment["tool_id"], "config": {"server": "huge"}}
    refused = await admin.post("/api/v1/deployments", json=again)
    assert refused.status_code == 422, refused.text
    assert "has no server 'huge'; it has: tiny" in refused.text


async def test_going_back_leads_to_the_environment_that_it_ran_in(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    again = {"tool_id": deployment["tool_id"], "config": {"environment": "staging"}}
    assert (await admin.post("/api/v1/deployments", json=again)).status_code == 202
    moved = await rolled(admin, deployment["deployment_id"], 2, "active")
    assert moved["environment"] == "staging"
    answer = await admin.post(f"{deployment['path']}/rollback")
    assert answer.status_code == 202, answer.text
    back = await rolled(admin, deployment["deployment_id"], 3, "active")
    assert back["environment"] == "production"


async def test_while_a_rollout_goes_on_every_other_change_is_refused(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    await publish(admin, deployment, NEVER_SPEAKS, "2.0.0")
    path = deployment["path"]
    first, second = await asyncio.gather(admin.post(f"{path}/rollout"), admin.post(f"{path}/rollout"))
    assert sorted((first.status_code, second.status_code)) == [202, 409]
    for refused in (
        await admin.patch(path, json={"replicas": 3}),
        await admin.post(f"{path}/restart"),
        await admin.post("/api/v1/deployments", json={"tool_id": deployment["tool_id"]}),
    ):
        assert refused.status_code == 409, refused.text
        assert "a roll-out of version 2.0.0 is going on" in refused.text.lower()
    called_off = await admin.post(f"{path}/rollback")
    assert called_off.status_code == 202, called_off.text
    seen = await rolled(admin, deployment["deployment_id"], 2, "failed")
    assert "called off by admin" in seen["rollout"]["reason"]
    assert [replica["pid"] for replica in seen["replicas"]] == [
        replica["pid"] for replica in deployment["replicas"]
    ]
    scaled = await admin.patch(path, json={"replicas": 2})
    assert scaled.status_code == 200, scaled.text


async def test_a_gentle_stop_lets_calls_in_flight_finish(admin: Caller, platform: RunningPlatform) -> None:
    deployment = await running(admin, replicas=1)
    tool = f"/mcp/{deployment['slug']}/v1/tools/slow"
    call = asyncio.create_task(admin.post(tool, json={"seconds": 3}))
    await eventually(lambda: _in_flight(platform))
    stopped = await admin.post(f"{deployment['path']}/stop", json={"drain_timeout": 10})
    assert stopped.status_code == 200, stopped.text
    assert (await call).status_code == 200
    assert (await call).json()["word"] == "one"
    after = await admin.post(tool, json={})
    assert after.status_code == 404


@pytest.mark.parametrize("change", ["rollout", "rollback", "restart"])
async def test_what_is_stopped_is_deployed_anew(admin: Caller, change: str) -> None:
    deployment = await running(admin, replicas=1)
    assert (await admin.delete(deployment["path"])).status_code == 200
    refused = await admin.post(f"{deployment['path']}/{change}")
    assert refused.status_code == 409, refused.text
    assert "is stopped; POST /api/v1/deployments runs its MCP again" in refused.text


async def test_a_stop_does_not_wait_longer_than_it_was_told(admin: Caller, platform: RunningPlatform) -> None:
    deployment = await running(admin, replicas=1)
    call = asyncio.create_task(admin.post(f"/mcp/{deployment['slug']}/v1/tools/slow", json={"seconds": 30}))
    await eventually(lambda: _in_flight(platform))
    stopped = await admin.post(f"{deployment['path']}/stop", json={"drain_timeout": 0.5})
    assert stopped.status_code == 200, stopped.text
    assert (await call).status_code in {404, 502, 503}


async def test_checks_can_be_changed_while_it_runs(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    health = {"interval": 0.5, "timeout": 1.0, "failures_allowed": 1}
    answer = await admin.patch(deployment["path"], json={"health": health})
    assert answer.status_code == 200, answer.text
    seen = await eventually(
        lambda: admin.deployment(deployment["deployment_id"]),
        lambda seen: seen["config"]["health"]["interval"] == 0.5 and seen["status"] == "running",
    )
    assert [replica["pid"] for replica in seen["replicas"]] == [
        replica["pid"] for replica in deployment["replicas"]
    ]


async def test_a_change_of_some_checks_keeps_the_others_through_a_restart(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    for health in ({"interval": 2.0}, {"timeout": 3.0}):
        answer = await admin.patch(deployment["path"], json={"health": health})
        assert answer.status_code == 200, answer.text
    # What it answers is so already.
    assert (answer.json()["config"]["health"]["interval"], answer.json()["config"]["health"]["timeout"]) == (
        2,
        3,
    )
    assert (await admin.post(f"{deployment['path']}/restart")).status_code == 202
    restarted = await rolled(admin, deployment["deployment_id"], 2, "active")
    assert restarted["config"]["health"]["interval"] == 2
    assert restarted["config"]["health"]["timeout"] == 3


@pytest.mark.parametrize("field", ["replicas", "resources", "health"])
async def test_null_is_no_change(admin: Caller, field: str) -> None:
    deployment = await running(admin, replicas=1)
    refused = await admin.patch(deployment["path"], json={field: None})
    assert refused.status_code == 422
    assert f"{field} must not be null" in refused.text


async def test_the_way_back_from_a_restart_leads_past_it(admin: Caller) -> None:
    deployment = await running(admin, replicas=1)
    await publish(admin, deployment, tiny("two"), "2.0.0")
    for number, change in ((2, "rollout"), (3, "restart"), (4, "rollback")):
        answer = await admin.post(f"{deployment['path']}/{change}")
        assert answer.status_code == 202, answer.text
        seen = await rolled(admin, deployment["deployment_id"], number, "active")
    assert (seen["version"], seen["rollout"]["cause"]) == ("1.0.0", "rollback")


async def _in_flight(platform: RunningPlatform) -> int:
    assert platform.parts.gateway is not None
    return platform.parts.gateway.snapshot().active_requests


async def _value(number: int) -> int:
    return number
