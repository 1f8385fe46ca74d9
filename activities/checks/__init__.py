"""Checking what can be checked for real: packages at their registries, and servers that are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.heartbeat import beating
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, TrialOrder, TrialReport

if TYPE_CHECKING:
    from activities.checks.trials import Trials
    from activities.clients.packages import PackageRegistries


class CheckActivities:
    """The checks; each may be repeated, and leaves nothing behind."""

    def __init__(self, trials: Trials, registries: PackageRegistries) -> None:
        self._trials = trials
        self._registries = registries

    @activity.defn(name="checks.try_server")
    async def try_server(self, order: TrialOrder) -> TrialReport:
        """Start a draft's server where that is allowed, see what it offers, and remove it."""
        async with beating():
            return await self._trials.carry_out(order)

    @activity.defn(name="checks.look_up")
    async def look_up(self, question: PackageQuestion) -> PackageFinding:
        """Ask a package's registry for it; one that cannot be asked leaves `exists` open."""
        return await self._registries.look_up(question)
