"""What a sync does with a definition: the rules, without any store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

from mcp_platform.contracts.github import ChangeOutcome, Definition, DefinitionReport
from mcp_platform.contracts.mcps import CreateMcp, McpConfig, UpdateMcp, version_order
from mcp_platform.contracts.syncing import FoundDefinition, RefusedDefinition

_FIRST_VERSION: Final = "1.0.0"
_LONGEST_ORIGIN: Final = 1024


@dataclass(frozen=True)
class Standing:
    """What an MCP is at one revision: what a definition may say of it."""

    name: str
    description: str
    tags: list[str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """What becomes of an MCP that a definition belongs to."""

    outcome: ChangeOutcome
    reason: str | None = None
    change: UpdateMcp | None = None
    in_step: bool = True
    """Whether the MCP says afterwards what the definition says."""


@dataclass
class Parted:
    """Definitions by whether they count."""

    counted: list[FoundDefinition] = field(default_factory=list)
    refused: list[RefusedDefinition] = field(default_factory=list)


def new_mcp_id(connection_id: UUID, slug: str) -> UUID:
    """Give the id that the MCP of a definition is registered under, the same however often it is tried."""
    return uuid5(connection_id, slug)


def origin_of(full_name: str, commit: str, path: str) -> str:
    """Write where a version comes from, as the history of an MCP shows it."""
    return f"github:{full_name}@{commit}:{path}"[:_LONGEST_ORIGIN]


def part(found: Iterable[FoundDefinition], known: Sequence[Definition]) -> Parted:
    """Let each slug count once: where it was synced from before, else where it stands highest."""
    places = {(each.path, each.entry) for each in known if not each.gone}
    parted = Parted()
    first: dict[str, str] = {}
    for each in sorted(found, key=lambda one: ((one.path, one.entry) not in places, *_height(one))):
        if each.slug in first:
            reason = f"{first[each.slug]} defines {each.slug!r} already; a slug counts once"
            parted.refused.append(_refusal(each, reason))
        else:
            first[each.slug] = each.path
            parted.counted.append(each)
    return parted


def bound_to(
    found: Sequence[FoundDefinition], known: Sequence[Definition], tool_id: UUID | None, slug: str | None
) -> FoundDefinition | None:
    """Find the definition that belongs to the MCP that the connection names.

    Args:
        found: The definitions that count.
        known: Those that were synced before.
        tool_id: The MCP.
        slug: Its slug.
    """
    for each in found:
        if each.slug == slug:
            return each
    places = {(each.path, each.entry) for each in known if each.mcp_id == tool_id}
    for each in found:
        if (each.path, each.entry) in places:
            return each
    return found[0] if tool_id is not None and len(found) == 1 else None


def registration_of(found: FoundDefinition) -> CreateMcp:
    """Give what the MCP of a new definition is registered with."""
    return CreateMcp(
        name=found.name or found.entry or found.slug,
        slug=found.slug,
        description=found.description or "",
        version=found.version or _FIRST_VERSION,
        config=McpConfig.model_validate(found.config),
        tags=found.tags or [],
    )


def decide(
    found: FoundDefinition, base: Standing | None, now: Standing, version: str, *, force: bool
) -> Decision:
    """Decide what becomes of an MCP that exists.

    Args:
        found: What the repository says.
        base: What both said when they were last in step; None where they never were.
        now: What the platform says.
        version: The MCP's present version.
        force: Whether the repository's word counts whatever happened on the platform.
    """
    said = {
        name: getattr(found, name)
        for name in ("name", "description", "tags", "config")
        if getattr(found, name) is not None
    }
    higher = found.version is not None and version_order(found.version) > version_order(version)
    differing = {name for name, value in said.items() if getattr(now, name) != value}
    if not differing and not higher:
        return Decision(ChangeOutcome.UNCHANGED)
    change = _change(found, differing, higher)
    if base is None or force:
        return Decision(ChangeOutcome.CHANGED, change=change)
    here = any(getattr(now, name) != getattr(base, name) for name in said)
    there = any(getattr(base, name) != value for name, value in said.items())
    if here and there and differing:
        reason = (
            f"it was changed in the repository and on the platform (to version {version}) since they were"
            " last in step: push the platform's version (POST /api/v1/github/push/{connection_id}), or"
            ' take the repository\'s by a sync with {"force": true}'
        )
        return Decision(ChangeOutcome.REFUSED, reason, in_step=False)
    if here and differing:
        reason = f"the platform's version {version} is newer than the repository's; a push takes it there"
        return Decision(ChangeOutcome.UNCHANGED, reason, in_step=False)
    return Decision(ChangeOutcome.CHANGED, change=change)


def report_of(
    found: FoundDefinition | RefusedDefinition,
    outcome: ChangeOutcome,
    *,
    mcp_id: UUID | None = None,
    version: str | None = None,
    reason: str | None = None,
) -> DefinitionReport:
    """Say what became of a definition."""
    return DefinitionReport(
        path=found.path,
        entry=found.entry,
        outcome=outcome,
        slug=found.slug,
        mcp_id=mcp_id,
        version=version,
        reason=reason,
    )


def summary_of(reports: Sequence[DefinitionReport]) -> str:
    """Say in a few words what a sync did: `2 added, 1 refused`."""
    counts = ((sum(each.outcome is outcome for each in reports), outcome) for outcome in ChangeOutcome)
    return ", ".join(f"{count} {outcome.value}" for count, outcome in counts if count)


def gone(
    known: Sequence[Definition], kept: set[UUID], refused: Sequence[DefinitionReport]
) -> list[Definition]:
    """Find definitions that were there at the last sync and are not any more.

    Args:
        known: Those that were synced before.
        kept: MCPs that have a definition now.
        refused: Definitions that are there, and cannot be taken.
    """
    places = {(each.path, each.entry) for each in refused}
    unreadable = {each.path for each in refused if not each.entry}
    return [
        each
        for each in known
        if not each.gone
        and each.mcp_id not in kept
        and (each.path, each.entry) not in places
        and each.path not in unreadable
    ]


def _height(found: FoundDefinition) -> tuple[int, str, str]:
    return found.path.count("/"), found.path, found.entry


def _refusal(found: FoundDefinition, reason: str) -> RefusedDefinition:
    return RefusedDefinition(path=found.path, entry=found.entry, slug=found.slug, reason=reason)


def _change(found: FoundDefinition, differing: set[str], higher: bool) -> UpdateMcp:
    return UpdateMcp(
        name=found.name if "name" in differing else None,
        description=found.description if "description" in differing else None,
        tags=found.tags if "tags" in differing else None,
        config=McpConfig.model_validate(found.config) if "config" in differing else None,
        version=found.version if higher else None,
    )
