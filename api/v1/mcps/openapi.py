"""Making an MCP out of an OpenAPI document: one tool for each operation."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import ValidationError

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.mcps.lookup import Writer, check_unlimited, etag
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.exchange import Skipped
from mcp_platform.contracts.mcps import CreateMcp, McpConfig
from mcp_platform.contracts.openapi import ImportOpenApi, NeededSecret, OpenApiReport
from mcp_platform.errors import ValidationFailed
from mcp_platform.formats.openapi import Choice, NoOpenApi, Reading, read_document, read_openapi
from storage.registration import register

router = APIRouter(prefix="/mcps", tags=["MCPs"])


@router.post("/import/openapi", status_code=status.HTTP_201_CREATED)
async def import_openapi(
    order: ImportOpenApi, caller: Writer, parts: PartsDep, response: Response
) -> OpenApiReport:
    """Register an MCP whose tools are an API's operations, as its OpenAPI document describes them.

    Security schemes become headers and parameters with `${NAME}`; the report says which secrets to store.
    References are followed within the document only, and nothing is fetched.
    """
    check_unlimited(caller)
    reading, config = await _read(order)
    wanted = CreateMcp(
        name=order.name or reading.title[:255],
        slug=order.slug,
        description=(reading.description if order.description is None else order.description)[:10_000],
        version=order.version,
        config=config,
        tags=order.tags,
    )
    mcp = await register(parts.stores, wanted, caller.user_id)
    response.headers["ETag"] = etag(mcp)
    return OpenApiReport(
        id=mcp.id,
        slug=mcp.slug,
        tools=[tool.name for tool in config.tools],
        secrets=await _secrets(parts, reading.secrets, caller),
        skipped=[Skipped(name=name, reason=reason) for name, reason in reading.skipped.items()],
    )


async def _read(order: ImportOpenApi) -> tuple[Reading, McpConfig]:
    choice = Choice(
        operations=order.include.operations,
        tags=order.include.tags,
        without_operations=order.exclude.operations or (),
        without_tags=order.exclude.tags or (),
    )

    def read() -> tuple[Reading, McpConfig]:
        document = read_document(order.document)
        reading = read_openapi(document, order.base_url, choice, order.slug)
        return reading, McpConfig.model_validate(reading.config)

    try:
        # Large documents take seconds: YAML is slow to read.
        return await asyncio.to_thread(read)
    except NoOpenApi as reason:
        raise ValidationFailed.at(("body", "document"), str(reason)) from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValidationFailed.at(("body", "document"), f"makes no configuration: {told}") from None


async def _secrets(parts: Parts, secrets: dict[str, str], caller: Principal) -> list[NeededSecret]:
    async with parts.stores.read() as rows:
        sealed: dict[str, Any] = dict(await rows.secrets.sealed(caller.user_id, secrets.keys()))
    known = sealed.keys() | set(parts.settings.replicas.exposed_environment)
    return [NeededSecret(name=name, what=what, known=name in known) for name, what in sorted(secrets.items())]
