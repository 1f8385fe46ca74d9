"""How connected repositories and the platform stand to each other: worked out from what is recorded."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

from mcp_platform.contracts.connecting import DefinitionDrift
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.github import Connection, Definition, DriftState
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.differences import Difference, differences
from mcp_platform.errors import PlatformError
from mcp_platform.names import Channel, Collection
from storage.stores import Stores

logger = structlog.get_logger(__name__)

_FIELDS: Final = ("name", "description", "tags")


async def drift_of(stores: Stores, connection: Connection) -> tuple[DriftState, list[DefinitionDrift]]:
    """Work out how a connection stands, and each of its definitions."""
    async with stores.read() as rows:
        definitions = await rows.connections.definitions(connection.id)
        pairs = [(each, await rows.mcps.get(each.mcp_id)) for each in definitions]
        before = {
            (each.path, each.entry): await rows.mcps.revision(each.mcp_id, each.revision)
            for each in definitions
        }
    moved = connection.head_commit is not None and connection.head_commit != connection.synced_commit
    drifts = []
    for definition, mcp in pairs:
        if mcp is None:
            continue
        entry = before[definition.path, definition.entry]
        fields = (entry.fields or {}) if entry else {}
        changes = await _changes(stores, definition, mcp, fields)
        drifts.append(
            DefinitionDrift(
                path=definition.path,
                entry=definition.entry,
                mcp_id=mcp.id,
                slug=mcp.slug,
                version=mcp.version,
                state=_state(definition, bool(changes), moved),
                differences=changes,
            )
        )
    return _overall(connection, drifts, moved), drifts


async def tell_drift(stores: Stores, connection_id: UUID) -> None:
    """Tell listeners how a connection stands now, if it stands otherwise than they were told last."""
    async with stores.read() as rows:
        connection = await rows.connections.get(connection_id)
    if connection is None:
        return
    drift, _ = await drift_of(stores, connection)
    if drift is connection.drift:
        return
    async with stores.write() as rows:
        await rows.connections.update(connection_id, datetime.now(UTC), drift=drift)
    data = {
        "connection_id": str(connection_id),
        "full_name": connection.full_name,
        "branch": connection.branch,
        "drift": drift.value,
        "before": connection.drift.value,
    }
    await stores.publish(
        Channel.EVENTS, Event(type=EventType.GITHUB_DRIFT, owner_id=connection.owner_id, data=data)
    )


async def tell_mcp_drift(stores: Stores, mcp_id: UUID) -> None:
    """Tell it for all connections of an MCP that was changed; that it cannot be told undoes no change."""
    try:
        async with stores.read() as rows:
            connections = await rows.connections.of_mcp(mcp_id)
        for connection in connections:
            await tell_drift(stores, connection.id)
    except PlatformError as error:
        logger.warning("drift_not_told", mcp_id=str(mcp_id), error=str(error))


async def _changes(
    stores: Stores, definition: Definition, mcp: Mcp, fields: dict[str, Any]
) -> list[Difference]:
    """Give what the platform has changed since the last sync, of what the definition says."""
    if mcp.revision == definition.revision:
        return []
    found: list[Difference] = []
    if mcp.config_key != definition.config_key:
        keys = [definition.config_key, mcp.config_key]
        configs = await stores.documents.get_many(Collection.CONFIGS, keys)
        old, new = (configs.get(key, {}) for key in keys)
        found += differences(old, new, "/config")
    if not definition.entry:
        # An entry of a file with several says nothing of these.
        known = {name: fields[name] for name in _FIELDS if name in fields}
        found += differences(known, {name: getattr(mcp, name) for name in known})
    return found


def _state(definition: Definition, changed: bool, moved: bool) -> DriftState:
    if definition.gone:
        return DriftState.UNKNOWN
    there = moved or definition.refused
    if changed:
        return DriftState.DIVERGED if there else DriftState.PLATFORM_AHEAD
    return DriftState.REPOSITORY_AHEAD if there else DriftState.IN_SYNC


def _overall(connection: Connection, drifts: list[DefinitionDrift], moved: bool) -> DriftState:
    if connection.synced_commit is None:
        return DriftState.UNKNOWN
    states = {each.state for each in drifts}
    if DriftState.DIVERGED in states or {DriftState.PLATFORM_AHEAD, DriftState.REPOSITORY_AHEAD} <= states:
        return DriftState.DIVERGED
    if DriftState.PLATFORM_AHEAD in states:
        return DriftState.PLATFORM_AHEAD
    ahead = moved or DriftState.REPOSITORY_AHEAD in states
    return DriftState.REPOSITORY_AHEAD if ahead else DriftState.IN_SYNC
