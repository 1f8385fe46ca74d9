"""The activity that observes a deployment's load, and what it hears from gateways."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from temporalio.testing import ActivityEnvironment

import activities.autoscaling
from activities.autoscaling import AutoscalingActivities
from mcp_platform.contracts.deployments import Autoscaling
from mcp_platform.contracts.loads import DeploymentLoad, LoadReport, ObserveOrder, ScaleDecision
from mcp_platform.names import Channel
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import Loads, listen, open_cache, publish
from tests.waiting import eventually

SCALING = Autoscaling(min=2, max=5, calls_in_flight=1, idle_after=60)


class CacheOnly:
    """Stores of which only the cache is at hand."""

    def __init__(self, cache: Redis) -> None:
        self.cache = cache
        self.loads = Loads(cache)


@pytest.fixture
async def room(cache: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AutoscalingActivities]:
    """Give the activities, which read often."""
    monkeypatch.setattr(activities.autoscaling, "_INTERVAL", 0.02)
    opened = AutoscalingActivities(CacheOnly(cache))  # type: ignore[arg-type]
    async with opened.following(listen(cache, Channel.WAKE)):
        yield opened


def observing(room: AutoscalingActivities, order: ObserveOrder) -> "asyncio.Task[ScaleDecision]":
    """Begin to observe."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=10))

    async def observe() -> ScaleDecision:
        return await environment.run(room.observe, order)

    return asyncio.create_task(observe())


async def report(cache: Redis, deployment_id: UUID, gateway_id: str = "one", **load: float) -> None:
    """Report a deployment's load as a gateway does."""
    seen = DeploymentLoad.model_validate({"deployment_id": deployment_id, **load})
    await Loads(cache).report(LoadReport(gateway_id=gateway_id, window=5, deployments=[seen]))


def order(**values: object) -> ObserveOrder:
    """Make an order."""
    whole = {"deployment_id": uuid4(), "replicas": 2, "autoscaling": SCALING, **values}
    return ObserveOrder.model_validate(whole)


async def test_an_idle_deployment_is_put_to_sleep(cache: Redis, room: AutoscalingActivities) -> None:
    asked = order()
    task = observing(room, asked)
    await report(cache, asked.deployment_id, idle=61.0)
    decision = await asyncio.wait_for(task, 10)
    assert (decision.replicas, decision.reason) == (0, "no call for 60 s")


@pytest.mark.parametrize("by_message", [True, False])
async def test_a_call_wakes_a_deployment_that_sleeps(
    cache: Redis, room: AutoscalingActivities, by_message: bool
) -> None:
    """By a gateway's message, or, when that was lost, by its report."""
    asked, other = order(asleep=True, replicas=0), order(asleep=True, replicas=0)
    task, sleeper = observing(room, asked), observing(room, other)

    async def call() -> None:
        while not task.done():
            if by_message:
                await publish(cache, Channel.WAKE, {"deployment_id": str(asked.deployment_id)})
            else:
                await report(cache, asked.deployment_id, waiting=1)
            await asyncio.sleep(0.02)

    await asyncio.wait_for(call(), 10)
    assert (await task).replicas == SCALING.min
    assert not sleeper.done()
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)


async def test_a_gateway_that_went_silent_keeps_a_deployment_awake(
    cache: Redis, room: AutoscalingActivities
) -> None:
    asked = order()
    await report(cache, asked.deployment_id, "busy", in_flight=1)
    await report(cache, asked.deployment_id, "idle", idle=100.0)
    task = observing(room, asked)
    await _read(room, 2)
    await Loads(cache).withdraw("busy")
    await _read(room, 3)
    assert not task.done()
    # Long after, it counts as gone.
    room._gateways._seen["busy"] -= 100
    assert (await asyncio.wait_for(task, 10)).replicas == 0


async def test_a_cache_that_is_away_scales_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities.autoscaling, "_INTERVAL", 0.02)
    away = open_cache(Settings(cache=CacheSettings.model_validate({"url": "redis://127.0.0.1:1"})))
    room = AutoscalingActivities(CacheOnly(away))  # type: ignore[arg-type]
    async with room.following(listen(away, Channel.WAKE)):
        task = observing(room, order())
        await _read(room, 3)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await away.aclose()


async def test_nobody_reads_while_nobody_observes(cache: Redis, room: AutoscalingActivities) -> None:
    asked = order()
    task = observing(room, asked)
    await report(cache, asked.deployment_id, in_flight=1)

    async def reports() -> list[LoadReport]:
        return room._gateways.reports

    # A reading that began before the report has ended without it.
    await eventually(reports)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert room._gateways._observers == 0
    assert room._gateways._sleepers == {}


async def _read(room: AutoscalingActivities, times: int) -> None:
    """Return once the reports were read so often."""
    for _ in range(times):
        await asyncio.wait_for(room._gateways.next(), 15)
