"""How much one account may run, and who may change what runs."""

from datetime import UTC, datetime
from uuid import UUID

from mcp_platform.contracts.deployments import DeploymentConfig, Driver
from tests.deployments.servers import tiny
from tests.platform import Caller, RunningPlatform
from tests.storage.samples import content, deployment
from tests.waiting import eventually

REMOTE = {"name": "far", "url": "http://127.0.0.1:9/mcp"}


async def deploy(member: Caller, mcp_id: str, **config: object) -> tuple[int, dict[str, object]]:
    answer = await member.post("/api/v1/deployments", json={"tool_id": mcp_id, "config": config})
    return answer.status_code, answer.json()


async def test_more_than_one_replica_may_have_is_refused_with_the_limit(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp({"servers": [REMOTE]})
    status, body = await deploy(member, mcp["id"], resources={"memory": "5Gi"})
    assert status == 422
    assert "4Gi" in str(body)


async def test_more_than_an_account_may_have_is_refused_with_the_limit(platform: RunningPlatform) -> None:
    limits = platform.settings.replicas
    member = await platform.member()
    account = UUID((await member.get("/api/v1/auth/me")).json()["id"])
    running, wished = [await member.register_mcp({"servers": [REMOTE]}) for _ in range(2)]
    async with platform.parts.stores.write() as rows:
        mcp = await rows.mcps.get(UUID(running["id"]))
        assert mcp is not None
        config = DeploymentConfig(replicas=limits.most_replicas)
        many = deployment(
            mcp, owner_id=account, driver=Driver.DOCKER, config=config, deployed_at=datetime.now(UTC)
        )
        await rows.deployments.add(many, content(many))
    status, refused = await deploy(member, wished["id"])
    assert status == 409
    assert refused["limit"] == limits.most_replicas
    stopped = await member.delete(f"/api/v1/deployments/{many.id}")
    assert stopped.status_code == 200, stopped.text
    status, body = await deploy(member, wished["id"])
    assert status == 202, body
    await member.delete(f"/api/v1/deployments/{body['deployment_id']}")


async def test_the_author_of_an_mcp_may_stop_what_somebody_else_deployed_of_it(
    platform: RunningPlatform,
) -> None:
    author, deployer, stranger = [await platform.member() for _ in range(3)]
    mcp = await author.register_mcp({"servers": [REMOTE]})
    status, body = await deploy(deployer, mcp["id"])
    assert status == 202, body
    path = f"/api/v1/deployments/{body['deployment_id']}"
    refused = await stranger.delete(path)
    assert refused.status_code == 403
    assert "author of its MCP" in refused.text
    stopped = await author.delete(path)
    assert stopped.status_code == 200, stopped.text


async def test_an_administrator_is_not_bound(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    mcp = await admin.register_mcp({"servers": [tiny("one")]})
    status, body = await deploy(admin, mcp["id"], resources={"memory": "5Gi", "cpu": "5"})
    assert status == 202, body
    path = f"/api/v1/deployments/{body['deployment_id']}"
    await eventually(lambda: admin.delete(path), lambda answer: answer.status_code == 200)
