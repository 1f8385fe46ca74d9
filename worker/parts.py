"""Tells the other processes how Temporal fares: gateways do not talk to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from mcp_platform.contracts.parts import PartState
from mcp_platform.names import TEMPORAL_PART
from storage.stores import Stores

_REPORTED_EVERY: Final = 5.0
_PATIENCE: Final = timedelta(seconds=3)


@asynccontextmanager
async def temporal_reported(temporal: Client, stores: Stores) -> AsyncIterator[None]:
    """Report every few seconds while the body runs."""
    reporting = asyncio.create_task(_report(temporal, stores))
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


async def _report(temporal: Client, stores: Stores) -> None:
    while True:
        await stores.parts.report(TEMPORAL_PART, await _state(temporal))
        await asyncio.sleep(_REPORTED_EVERY)


async def _state(temporal: Client) -> PartState:
    state = await _asked(temporal)
    # The server closes connections that are old: a request in that very moment is no sign of anything.
    return state if state.healthy else await _asked(temporal)


async def _asked(temporal: Client) -> PartState:
    try:
        await temporal.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=_PATIENCE)
    except RPCError as error:
        return PartState(healthy=False, detail=f"it does not answer ({error.status.name.lower()})")
    return PartState(healthy=True)
