"""Registering what a generation wrote."""

from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter, Response, status
from pydantic import ValidationError

from api.audit import about
from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.mcps.entries import McpCreated
from api.v1.mcps.lookup import Writer, check_unlimited, etag
from mcp_platform.contracts.generation import Generated, RegisterGenerated
from mcp_platform.contracts.mcps import CreateMcp
from mcp_platform.contracts.tasks import TaskKind, TaskState
from mcp_platform.errors import Conflict, NotFound
from mcp_platform.names import Collection
from storage.registration import register

router = APIRouter(prefix="/mcps", tags=["MCPs"])


@router.post("/from-task/{task_id}", status_code=status.HTTP_201_CREATED)
async def register_from_task(
    task_id: str, caller: Writer, parts: PartsDep, response: Response, order: RegisterGenerated | None = None
) -> McpCreated:
    """Register the configuration that a task generated, as a draft; each task makes one MCP at most."""
    check_unlimited(caller)
    about("task", task_id)
    record = await parts.tasks.authorise(task_id, caller)
    if record.kind is not TaskKind.GENERATION:
        raise Conflict(f"The task is of the kind {record.kind}; only generations make MCPs", task_id=task_id)
    if record.status is not TaskState.COMPLETED:
        raise Conflict(
            f"The task is {record.status}; only a completed one has a configuration",
            task_id=task_id,
            status=record.status,
        )
    mcp_id = uuid5(NAMESPACE_URL, f"task:{task_id}")
    await _check_first(parts, task_id, mcp_id)
    wanted = _wanted(await _generated(parts, task_id, record.result_key), order or RegisterGenerated())
    await _check_slug(parts, wanted.slug)
    mcp = await register(parts.stores, wanted, caller.user_id, mcp_id=mcp_id, origin=f"task:{task_id}")
    about("mcp_tool", mcp.id)
    response.headers["ETag"] = etag(mcp)
    return McpCreated.model_validate(mcp.model_dump())


async def _check_first(parts: Parts, task_id: str, mcp_id: UUID) -> None:
    async with parts.stores.read() as rows:
        made = await rows.mcps.get(mcp_id)
    if made is not None:
        raise Conflict(
            f"The task made the MCP {made.slug!r} already",
            task_id=task_id,
            mcp_id=str(made.id),
            slug=made.slug,
        )


async def _check_slug(parts: Parts, slug: str) -> None:
    async with parts.stores.read() as rows:
        free = await rows.mcps.free_slug(slug)
    if free != slug:
        raise Conflict(
            f"An MCP with the slug {slug!r} exists already; {free!r} is free: give it as slug",
            resource_type="mcp_tool",
            slug=slug,
            free_slug=free,
        )


async def _generated(parts: Parts, task_id: str, key: str | None) -> Generated:
    body = await parts.stores.documents.get(Collection.RESULTS, key) if key else None
    if body is None:
        raise NotFound("task", task_id, "The task's result is gone")
    return Generated.model_validate(body)


def _wanted(generated: Generated, order: RegisterGenerated) -> CreateMcp:
    given = order.model_dump(exclude_none=True)
    fields = generated.model_dump(include={"name", "slug", "version", "description", "config"})
    try:
        return CreateMcp.model_validate(fields | given)
    except ValidationError as error:
        # The rules may have become stricter since it was written.
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise Conflict(f"The configuration does not hold any more: {told}") from None
