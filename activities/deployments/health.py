"""Whether a replica lives, is reached, and speaks MCP: until it does, and until it does no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from activities.deployments.troubles import Trouble, Troubles
from activities.drivers import LastingFault, Probe, ReplicaFault, RunningReplica, UsageKeeper
from mcp_platform.contracts.deployments import Driver, ReplicaOrder

if TYPE_CHECKING:
    from storage.stores import Stores

_FIRST_CHECKS_EVERY = 0.1
_LAST_WORD = 1.0
"""Seconds for which a replica that failed its checks may still be seen to have ended."""
_SILENT_START = 3.0
"""Seconds after which a start that takes longer says why."""


class Health:
    """Checks replicas.

    Three things are looked at: that what runs the replica says that it is alive, that its address
    answers, and that MCP is spoken there. What gateways see counts too: a call that found the replica
    unreachable, broken or too slow is one failed check, and brings the next one about at once.

    Args:
        applied: Gives an order as it is to be followed now: how often to check may change while it runs.
    """

    def __init__(
        self,
        stores: Stores,
        probe: Probe,
        troubles: Troubles,
        usage: UsageKeeper,
        applied: Callable[[ReplicaOrder], ReplicaOrder],
    ) -> None:
        self._stores = stores
        self._applied = applied
        self._probe = probe
        self._troubles = troubles
        self._usage = usage

    async def first_answer(self, order: ReplicaOrder, running: RunningReplica) -> str | None:
        """Wait until the replica answers; None, or why it did not within its patience."""
        exited = asyncio.create_task(running.exited())
        faults: list[str] = []
        answered = asyncio.create_task(self._until_healthy(order, running, faults))
        try:
            async with asyncio.timeout(order.patience + 1.0):
                await asyncio.wait({exited, answered}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return ": ".join([f"it did not answer within {order.patience:g} s", *faults])
        finally:
            exited.cancel()
            answered.cancel()
            # Who comes next may close what it checks with, or writes to.
            await asyncio.wait({answered})
        return exited.result() if exited.done() and not exited.cancelled() else answered.result()

    async def until_lost(self, order: ReplicaOrder, running: RunningReplica) -> str:
        """Check the replica for as long as it is well; why it is not any more."""
        exited = asyncio.create_task(running.exited())
        try:
            with self._troubles.of(order.replica_id) as trouble:
                return await self._watch(order, running, exited, trouble)
        finally:
            exited.cancel()

    async def _check(self, order: ReplicaOrder, running: RunningReplica) -> None:
        if running.health_url is not None:
            await self._probe.check_api(running.health_url, running.headers, order.check_timeout)
            return
        remote = order.driver is Driver.REMOTE
        await self._probe.check(running.url, running.headers, order.check_timeout, remote=remote)

    async def _watch(
        self, order: ReplicaOrder, running: RunningReplica, exited: asyncio.Task[str], trouble: Trouble
    ) -> str:
        failures, ordered = 0, order
        while True:
            order = self._applied(ordered)
            await _first_of(exited, trouble, order.check_interval)
            if exited.done():
                return exited.result()
            calls = trouble.take()
            failures += bool(calls)
            try:
                await self._check(order, running)
            except ReplicaFault as fault:
                failures += 1
                if failures >= order.failures_allowed:
                    # What runs it may be about to tell a better reason, such as want of memory.
                    await asyncio.wait({exited}, timeout=_LAST_WORD)
                    if exited.done():
                        return exited.result()
                    seen = f" (calls to it were {', '.join(sorted(set(calls)))})" if calls else ""
                    return f"{failures} checks in a row failed: {fault}{seen}"
            else:
                failures = 0
                self._usage.answered(order, running)

    async def _until_healthy(
        self, order: ReplicaOrder, running: RunningReplica, faults: list[str]
    ) -> str | None:
        loop = asyncio.get_running_loop()
        started, noted = loop.time(), ""
        while True:
            try:
                await self._check(order, running)
            except LastingFault as fault:
                return str(fault)
            except ReplicaFault as fault:
                faults[:] = [str(fault)]
                waited = loop.time() - started
                if waited >= order.patience:
                    return f"it did not answer within {order.patience:g} s: {fault}"
                if waited >= _SILENT_START and noted != running.mask.text(str(fault)):
                    noted = running.mask.text(str(fault))
                    async with self._stores.write() as rows:
                        await rows.deployments.note_replica(order.replica_id, f"no answer yet: {noted}")
                await asyncio.sleep(_FIRST_CHECKS_EVERY)
            else:
                return None


async def _first_of(exited: asyncio.Task[str], trouble: Trouble, interval: float) -> None:
    news = asyncio.create_task(trouble.wait())
    try:
        await asyncio.wait({exited, news}, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()
