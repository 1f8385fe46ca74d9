"""`/api/v1/audit`: who did what, and what came of it."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import PartsDep, Requires
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.audit import AuditEntry, AuditFilter, AuditOutcome
from mcp_platform.contracts.base import Contract, Moment
from storage.sql.audit import AuditLog

router = APIRouter(prefix="/audit", tags=["Audit"], dependencies=[Depends(Requires(Permission.AUDIT_READ))])

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for the beginning of a formula."""


class AuditFormat(StrEnum):
    """How the log is answered."""

    JSON = "json"
    """One page."""
    CSV = "csv"
    JSONL = "jsonl"


_MEDIA: Final = {AuditFormat.CSV: "text/csv", AuditFormat.JSONL: "application/jsonl"}


class AuditPage(Contract):
    """Entries, the newest first; `next_cursor` leads to older ones."""

    entries: list[AuditEntry]
    next_cursor: int | None


def _wanted(
    actor: Annotated[str | None, Query(max_length=255, description="An account's id or name")] = None,
    action: Annotated[str | None, Query(max_length=255, description="An action, or a whole room")] = None,
    resource_type: Annotated[str | None, Query(max_length=255)] = None,
    resource_id: Annotated[str | None, Query(max_length=255)] = None,
    outcome: AuditOutcome | None = None,
    address: Annotated[str | None, Query(max_length=255)] = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Up to here, exclusive")] = None,
) -> AuditFilter:
    return AuditFilter(
        actor=actor,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        outcome=outcome,
        address=address,
        since=since,
        until=until,
    )


@router.get(
    "",
    response_model=AuditPage,
    responses={
        200: {"content": {media: {"schema": {"type": "string"}} for media in _MEDIA.values()}},
    },
)
async def list_audit(
    request: Request,
    parts: PartsDep,
    wanted: Annotated[AuditFilter, Depends(_wanted)],
    cursor: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    format: Annotated[AuditFormat | None, Query(description="Else as the Accept header says")] = None,
) -> Response | AuditPage:
    """List what was done, the newest first; as CSV or JSON Lines everything that matches, in one stream."""
    chosen = format or _accepted(request.headers.get("accept", ""))
    if chosen is AuditFormat.JSON:
        async with parts.stores.read() as rows:
            found = await rows.audit.newest(wanted, cursor, limit + 1)
        more = len(found) > limit
        return AuditPage(entries=found[:limit], next_cursor=found[limit - 1].seq if more else None)
    write = _write_csv if chosen is AuditFormat.CSV else _write_json_lines
    return StreamingResponse(
        _stream(AuditLog(parts.stores.database, parts.sealer), wanted, write),
        media_type=_MEDIA[chosen],
        headers={
            "Content-Disposition": f'attachment; filename="audit.{chosen}"',
            "Cache-Control": "no-store",
        },
    )


def _accepted(accept: str) -> AuditFormat:
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    return next((kind for kind, media in _MEDIA.items() if media == first), AuditFormat.JSON)


Writer = Callable[[Sequence[AuditEntry], bool], str]


async def _stream(log: AuditLog, wanted: AuditFilter, write: Writer) -> AsyncIterator[str]:
    yield write([], True)
    async with aclosing(log.newest_first(wanted)) as chunks:
        async for entries in chunks:
            yield write(entries, False)


def _write_json_lines(entries: Sequence[AuditEntry], head: bool) -> str:
    return "".join(f"{entry.model_dump_json()}\n" for entry in entries)


def _write_csv(entries: Sequence[AuditEntry], head: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    if head:
        writer.writerow(AuditEntry.model_fields)
    for entry in entries:
        fields = entry.model_dump(mode="json")
        writer.writerow(_cell(fields[name]) for name in AuditEntry.model_fields)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
