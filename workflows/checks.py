"""The checks that other workflows ask for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.checks import CheckActivities
from activities.images import ImageActivities
from mcp_platform.contracts.checks import (
    PackageFinding,
    PackageQuestion,
    TrialOrder,
    TrialOutcome,
    TrialReport,
)
from workflows.cancelling import end_if, is_cancelled
from workflows.failures import reason_of
from workflows.policies import BUILDING_DRAFT, READING, trying

_TELLING_HOW_LONG: Final = "trials-tell-how-long"
"""Since then a task tells how long a trial goes on; a run that began before goes its old way."""
_TIMES_TOLD: Final = 12
"""How often, within the time that a server has; a second lies between two of them at least."""
_LONGEST_NAME: Final = 120


@dataclass(frozen=True)
class Shown:
    """How a task shows that a server is tried: from one progress on, up to below another."""

    advance: Callable[[int, str], None]
    what: str
    first: int
    last: int

    def begin(self) -> None:
        """Say what is tried."""
        self.advance(self.first, f"Trying {self.what[:_LONGEST_NAME]}")

    async def go_on(self, patience: float) -> None:
        """Say, for as long as this runs, how long the trial has gone on, and until when it may."""
        began = workflow.now()
        until = began + timedelta(seconds=patience)
        while True:
            await asyncio.sleep(max(1.0, patience / _TIMES_TOLD))
            seconds = (workflow.now() - began).total_seconds()
            rest = f"it has at most until {until:%H:%M:%S} UTC"
            if seconds > patience:
                rest = "others are tried first, or what it needs is still fetched"
            part = min(seconds / patience, 1.0) * (self.last - self.first - 1)
            what = f"Trying {self.what[:_LONGEST_NAME]}: {seconds:.0f} s so far; {rest}"
            self.advance(self.first + int(part), what)


async def try_server(order: TrialOrder, shown: Shown | None = None) -> TrialReport:
    """Try a draft's server; a trial that cannot be carried out is `not_tried`, with the reason.

    Where only containers may run it, its image is built first.
    """
    if shown is None:
        return await _tried(order)
    shown.begin()
    if not workflow.patched(_TELLING_HOW_LONG):
        return await _tried(order)
    telling = asyncio.create_task(shown.go_on(order.patience))
    try:
        return await _tried(order)
    finally:
        telling.cancel()


async def _tried(order: TrialOrder) -> TrialReport:
    report = await _attempt(order)
    if not report.needs_image:
        return report
    try:
        image = await workflow.execute_activity_method(ImageActivities.build_draft, order, **BUILDING_DRAFT)
        end_if(is_cancelled())
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        reason = f"its image could not be built: {reason_of(error)}"
        return TrialReport(outcome=TrialOutcome.NOT_TRIED, reason=reason)
    return await _attempt(order.model_copy(update={"image": image}))


async def _attempt(order: TrialOrder) -> TrialReport:
    try:
        report = await workflow.execute_activity_method(
            CheckActivities.try_server, order, **trying(order.patience)
        )
        end_if(is_cancelled())
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        reason = f"the trial could not be carried out: {reason_of(error)}"
        return TrialReport(outcome=TrialOutcome.NOT_TRIED, reason=reason)
    return report


async def look_up(question: PackageQuestion) -> PackageFinding:
    """Ask a package's registry for it; where that cannot be done `exists` is None, with the reason."""
    try:
        return await workflow.execute_activity_method(CheckActivities.look_up, question, **READING)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return PackageFinding(
            registry=question.registry, name=question.name, exists=None, reason=reason_of(error)
        )
