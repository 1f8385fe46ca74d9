"""`/api/v1/mcps/{mcp_id}/policy`: what governs an MCP at the gateway, and its tools' pinned definitions."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from api.audit import about
from api.dependencies import PartsDep, Requires
from api.parts import Parts
from api.v1.mcps.lookup import IfMatch, McpId, Reader, Writer, find_mcp, find_own_mcp
from api.v1.policy_rules import check_rules
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.policies import (
    Access,
    McpPolicy,
    Offer,
    Pin,
    PinDecision,
    PinOrder,
    StoredPolicy,
    definition_digest,
)
from mcp_platform.differences import Difference, differences
from mcp_platform.errors import Conflict, Forbidden, NotFound, UpstreamFailed
from mcp_platform.names import Channel

router = APIRouter(prefix="/mcps/{mcp_id:uuid}/policy", tags=["Policies"])

Approver = Annotated[Principal, Depends(Requires(Permission.TOOLS_APPROVE))]
Tool = Annotated[str, Path(description="The tool's name", max_length=255)]

_ASKING: Final = 15.0
"""Seconds that the gateways have to tell which tools there are: the servers are asked."""


class PolicyView(McpPolicy):
    """An MCP's policy; revision 0 is the default, which nobody has changed."""

    mcp_id: UUID
    revision: int
    updated_at: Moment | None
    updated_by: UUID | None


class PinView(Contract):
    """A pinned tool. With `changed` it is quarantined: hidden, and not called."""

    tool: str
    digest: str
    definition: dict[str, Any]
    pinned_by: UUID
    pinned_at: Moment
    quarantined: bool
    changed_digest: str | None
    """What a decision names."""
    changed_definition: dict[str, Any] | None
    """What was seen instead."""
    changed_at: Moment | None
    differences: list[Difference]
    """The steps from the pinned definition to the changed one."""


class PinList(Contract):
    """An MCP's pins by tool."""

    pins: list[PinView]
    total: int


class Unpinned(Contract):
    """A pin was removed."""

    message: str
    tool: str


@router.get("")
async def get_policy(mcp_id: McpId, caller: Reader, parts: PartsDep, response: Response) -> PolicyView:
    """Show what governs an MCP at the gateway."""
    await find_mcp(parts, mcp_id, caller)
    async with parts.stores.read() as rows:
        stored = await rows.policies.get(mcp_id)
    return _shown(stored, response)


@router.put("")
async def put_policy(
    mcp_id: McpId,
    order: McpPolicy,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    if_match: IfMatch = None,
) -> PolicyView:
    """Replace an MCP's policy; it holds in all gateways at once.

    To make an MCP public needs `mcps:publish`, and so does any change of a public one's policy. To make it
    private again does not.
    """
    await find_own_mcp(parts, mcp_id, caller)
    async with parts.stores.write() as rows:
        present = await rows.policies.locked(mcp_id)
        _check_unchanged(present, if_match)
        _check_publishing(present.policy, order, caller)
        await check_rules(rows, order.rules)
        stored = StoredPolicy(
            mcp_id=mcp_id,
            revision=present.revision + 1,
            policy=order,
            updated_at=datetime.now(UTC),
            updated_by=caller.user_id,
        )
        await rows.policies.put(stored)
    await _changed(parts, mcp_id)
    return _shown(stored, response)


@router.get("/pins")
async def list_pins(mcp_id: McpId, caller: Reader, parts: PartsDep) -> PinList:
    """List pinned tools; for those that some replica defines otherwise, what was seen and how it differs."""
    await find_mcp(parts, mcp_id, caller)
    return await _pins(parts, mcp_id)


@router.post("/pins")
async def pin_tools(mcp_id: McpId, order: PinOrder, caller: Writer, parts: PartsDep) -> PinList:
    """Pin the definitions that tools have now, of the tools that are named or of all.

    The MCP must be deployed: its servers are asked. Tools that are pinned already keep their pins.
    """
    mcp = await find_own_mcp(parts, mcp_id, caller)
    async with parts.stores.read() as rows:
        if await rows.mcps.deployed(mcp_id) is None:
            raise Conflict(
                "The MCP is not deployed, so nobody can tell which tools it has; deploy it first",
                resource_type="mcp_tool",
                resource_id=str(mcp_id),
            )
    offer = await parts.stores.definitions.ask(mcp_id, _ASKING)
    if offer.problem is not None:
        raise UpstreamFailed(f"{mcp.slug!r} could not be asked for its tools: {offer.problem}")
    wanted = _wanted(offer, order)
    now = datetime.now(UTC)
    pins = [
        Pin(
            mcp_id=mcp_id,
            tool=tool,
            digest=definition_digest(offer.tools[tool]),
            definition=offer.tools[tool],
            pinned_by=caller.user_id,
            pinned_at=now,
        )
        for tool in wanted
    ]
    async with parts.stores.write() as rows:
        await rows.policies.locked(mcp_id)
        await rows.policies.add_pins(pins)
    await _changed(parts, mcp_id)
    return await _pins(parts, mcp_id)


@router.post("/pins/{tool:path}/accept")
async def accept_change(
    mcp_id: McpId, tool: Tool, order: PinDecision, caller: Approver, parts: PartsDep
) -> PinList:
    """Pin the changed definition of a quarantined tool instead; `digest` says which one was read."""
    about("pin", f"{mcp_id}/{tool}")
    await find_mcp(parts, mcp_id, caller)
    async with parts.stores.write() as rows:
        accepted = await rows.policies.accept(mcp_id, tool, order.digest, caller.user_id, datetime.now(UTC))
    if not accepted:
        await _refuse_decision(parts, mcp_id, tool)
    await _changed(parts, mcp_id)
    return await _pins(parts, mcp_id)


@router.post("/pins/{tool:path}/reject")
async def reject_change(
    mcp_id: McpId, tool: Tool, order: PinDecision, caller: Approver, parts: PartsDep
) -> PinList:
    """Keep the pinned definition of a quarantined tool.

    The replicas are looked at again: the tool is back when all of them offer what is pinned, and is
    quarantined anew as long as one does not.
    """
    about("pin", f"{mcp_id}/{tool}")
    await find_mcp(parts, mcp_id, caller)
    async with parts.stores.write() as rows:
        rejected = await rows.policies.reject(mcp_id, tool, order.digest)
    if not rejected:
        await _refuse_decision(parts, mcp_id, tool)
    await _changed(parts, mcp_id)
    return await _pins(parts, mcp_id)


@router.delete("/pins")
async def unpin_tool(
    mcp_id: McpId,
    # Not of the path: names with a slash could not be told from the decisions' paths.
    tool: Annotated[str, Query(description="The tool's name", max_length=255)],
    caller: Writer,
    parts: PartsDep,
) -> Unpinned:
    """Let a tool's definition change unwatched.

    Whoever may decide about changes may do this. Others only to pins of their own, on an MCP of their
    own, and not while the tool is quarantined.
    """
    about("pin", f"{mcp_id}/{tool}")
    await find_own_mcp(parts, mcp_id, caller)
    async with parts.stores.write() as rows:
        await rows.policies.locked(mcp_id)
        pin = await rows.policies.pin(mcp_id, tool)
        if pin is None:
            raise NotFound("pin", tool)
        harmless = pin.pinned_by == caller.user_id and not pin.quarantined
        if not harmless and Permission.TOOLS_APPROVE not in caller.permissions:
            raise Forbidden(
                Permission.TOOLS_APPROVE, "The tool is quarantined, or somebody else has pinned it"
            )
        await rows.policies.unpin(mcp_id, tool)
    await _changed(parts, mcp_id)
    return Unpinned(message="Tool unpinned successfully", tool=tool)


def _check_unchanged(present: StoredPolicy, if_match: str | None) -> None:
    if if_match is not None and if_match.removeprefix("W/") not in {"*", _etag(present)}:
        raise Conflict(
            "The policy was changed since it was read; read it again",
            resource_type="policy",
            resource_id=str(present.mcp_id),
        )


def _check_publishing(present: McpPolicy, wanted: McpPolicy, caller: Principal) -> None:
    """Let only those decide what anybody may call, and how it is guarded, who may publish."""
    if wanted.access is not Access.PUBLIC or Permission.MCPS_PUBLISH in caller.permissions:
        return
    if present.access is not Access.PUBLIC:
        raise Forbidden(Permission.MCPS_PUBLISH, "To make an MCP public needs a permission of its own")
    if present != wanted:
        raise Forbidden(
            Permission.MCPS_PUBLISH,
            "To change the policy of a public MCP needs a permission of its own; to make it private does not",
        )


def _wanted(offer: Offer, order: PinOrder) -> list[str]:
    wanted = sorted(offer.tools) if order.tools is None else list(dict.fromkeys(order.tools))
    for tool in wanted:
        if tool not in offer.tools:
            raise NotFound("tool", tool, f"The MCP has no tool {tool!r}")
    differing = sorted(set(wanted) & set(offer.differing))
    if differing:
        raise Conflict(
            f"The replicas do not define these tools alike: {', '.join(differing)};"
            " wait until a roll-out is done, or name others",
            resource_type="tool",
            tools=differing,
        )
    return wanted


async def _refuse_decision(parts: Parts, mcp_id: UUID, tool: str) -> None:
    async with parts.stores.read() as rows:
        pin = await rows.policies.pin(mcp_id, tool)
    if pin is None:
        raise NotFound("pin", tool)
    if not pin.quarantined:
        raise Conflict("The tool is not quarantined", resource_type="pin", resource_id=tool)
    raise Conflict(
        "The changed definition is another one than the digest says; read the pins again",
        resource_type="pin",
        resource_id=tool,
        changed_digest=pin.changed_digest,
    )


async def _changed(parts: Parts, mcp_id: UUID) -> None:
    await parts.stores.publish(Channel.POLICIES, {"mcp_id": str(mcp_id)})


async def _pins(parts: Parts, mcp_id: UUID) -> PinList:
    async with parts.stores.read() as rows:
        found = await rows.policies.pins(mcp_id)
    return PinList(pins=[_pin_view(pin) for pin in found], total=len(found))


def _pin_view(pin: Pin) -> PinView:
    changed = pin.changed_definition if pin.quarantined else None
    steps = [] if changed is None else list(differences(pin.definition, changed))
    shown = dict(pin) | {"changed_definition": changed}
    return PinView(**shown, quarantined=pin.quarantined, differences=steps)


def _etag(stored: StoredPolicy) -> str:
    return f'"{stored.revision}"'


def _shown(stored: StoredPolicy, response: Response) -> PolicyView:
    response.headers["ETag"] = _etag(stored)
    return PolicyView(
        **dict(stored.policy),
        mcp_id=stored.mcp_id,
        revision=stored.revision,
        updated_at=stored.updated_at,
        updated_by=stored.updated_by,
    )
