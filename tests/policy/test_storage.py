"""Policies and pins in both engines."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.policies import McpPolicy, Pin, StoredPolicy, definition_digest
from mcp_platform.errors import NotFound
from storage.sql.engine import Database
from storage.sql.mcps import McpRepository
from storage.sql.policies import PolicyRepository
from tests.policy.desk import tool
from tests.storage.samples import stored_mcp

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD, NEW = tool("read"), tool("read", "Another")


def a_pin(mcp_id: UUID, name: str = "read") -> Pin:
    """Make a pin."""
    return Pin(
        mcp_id=mcp_id,
        tool=name,
        digest=definition_digest(OLD),
        definition=OLD,
        pinned_by=uuid4(),
        pinned_at=NOW,
    )


async def test_a_policy_is_written_replaced_and_goes_with_its_mcp(database: Database) -> None:
    mcp_id = (await stored_mcp(database)).id
    async with database.write() as session:
        policies = PolicyRepository(session)
        assert await policies.locked(mcp_id) == StoredPolicy(mcp_id=mcp_id)
        for revision, redact in ((1, True), (2, False)):
            stored = StoredPolicy(
                mcp_id=mcp_id,
                revision=revision,
                policy=McpPolicy(redact=redact),
                updated_at=NOW,
                updated_by=uuid4(),
            )
            await policies.put(stored)
            assert await policies.get(mcp_id) == stored
        await policies.add_pins([a_pin(mcp_id)])
        found = await policies.governance()
        assert [(each.mcp_id, each.policy, len(each.pins)) for each in found] == [(mcp_id, McpPolicy(), 1)]
    async with database.write() as session:
        await McpRepository(session).delete(mcp_id)
        assert await PolicyRepository(session).governance() == []
        with pytest.raises(NotFound):
            await PolicyRepository(session).locked(mcp_id)


async def test_pins_alone_govern_too(database: Database) -> None:
    mcp_id = (await stored_mcp(database)).id
    async with database.write() as session:
        policies = PolicyRepository(session)
        first = a_pin(mcp_id)
        await policies.add_pins([first])
        await policies.add_pins([a_pin(mcp_id, "write"), a_pin(mcp_id), a_pin(mcp_id, "drop")])
        (found,) = await policies.governance(mcp_id)
        assert await policies.governance() == [found]
        assert found.policy == McpPolicy()
        assert await policies.pin(mcp_id, "read") == first
        assert [each.tool for each in await policies.pins(mcp_id)] == ["drop", "read", "write"]
        assert await policies.unpin(mcp_id, "write")
        assert not await policies.unpin(mcp_id, "write")


async def test_the_first_change_that_was_seen_is_the_one_to_decide_about(database: Database) -> None:
    mcp_id, approver, digest = (await stored_mcp(database)).id, uuid4(), definition_digest(NEW)
    async with database.write() as session:
        policies = PolicyRepository(session)
        pin = a_pin(mcp_id)
        await policies.add_pins([pin])
        assert not await policies.accept(mcp_id, "read", digest, approver, NOW)
        assert await policies.quarantine(pin, digest, NEW, NOW)
        assert not await policies.quarantine(pin, "f" * 64, tool("read", "Third"), NOW)
        seen = await policies.pin(mcp_id, "read")
        assert seen
        assert (seen.quarantined, seen.changed_definition, seen.changed_digest) == (True, NEW, digest)
        assert not await policies.accept(mcp_id, "read", "f" * 64, approver, NOW)
        assert await policies.accept(mcp_id, "read", digest, approver, NOW)
        accepted = await policies.pin(mcp_id, "read")
        assert accepted
        assert (accepted.definition, accepted.digest, accepted.pinned_by) == (NEW, digest, approver)
        assert not accepted.quarantined
        # Who still goes by the former pin has nothing to report.
        assert not await policies.quarantine(pin, digest, NEW, NOW)


async def test_a_rejected_change_is_forgotten(database: Database) -> None:
    mcp_id, digest = (await stored_mcp(database)).id, definition_digest(NEW)
    async with database.write() as session:
        policies = PolicyRepository(session)
        pin = a_pin(mcp_id)
        await policies.add_pins([pin])
        assert not await policies.reject(mcp_id, "read", digest)
        await policies.quarantine(pin, digest, NEW, NOW)
        assert await policies.reject(mcp_id, "read", digest)
        rejected = await policies.pin(mcp_id, "read")
        assert rejected == pin.model_copy(update={"decisions": 1})
        # What was found before the decision is settled by it; what is found after it is not.
        assert not await policies.quarantine(pin, digest, NEW, NOW)
        assert await policies.quarantine(rejected, digest, NEW, NOW)
