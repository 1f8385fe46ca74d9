"""What the journal says went wrong with a call."""

from mcp_platform.contracts.calls import CallFilter, Outcome
from mcp_platform.contracts.deployments import Driver
from tests.gateway.conftest import Platform, platform
from tests.policy.desk import called, desk, govern
from tests.waiting import eventually

__all__ = ["platform"]


async def test_the_journal_says_why_a_call_had_no_good_result(platform: Platform) -> None:
    async with desk() as server:
        deployment = await platform.deploy("desk", server.url, driver=Driver.REMOTE)
        await called(platform, "desk", "read")
        server.results["read"] = {"content": [], "isError": True}
        await called(platform, "desk", "read")
        server.error = {"code": -32000, "message": "no"}
        await called(platform, "desk", "read")
        await govern(platform, deployment, rules=[{"deny": ["drop"]}])
        await called(platform, "desk", "drop")
        await platform.place(deployment)
    assert (await platform.rest("desk", "read", {}))[0] == 503

    async def kept() -> list[tuple[Outcome, str | None]]:
        async with platform.stores.read() as rows:
            found = await rows.calls.newest(CallFilter(), None, 10)
        return [(each.outcome, each.error_code) for each in found]

    assert await eventually(kept, lambda seen: len(seen) == 5) == [
        (Outcome.FAILED, "SERVICE_UNAVAILABLE"),
        (Outcome.DENIED, "NOT_FOUND"),
        (Outcome.REFUSED, "-32000"),
        (Outcome.TOOL_ERROR, "TOOL_ERROR"),
        (Outcome.OK, None),
    ]
