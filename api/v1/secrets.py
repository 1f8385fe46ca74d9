"""`/api/v1/secrets`: values that configurations refer to as `${NAME}`. They go in and never come out."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Response, status

from api.dependencies import PartsDep, Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.contracts.secrets import SHARED, PutSecret, Secret, SecretName
from mcp_platform.errors import Conflict, Forbidden, NotFound
from mcp_platform.names import Collection
from mcp_platform.variables import references

router = APIRouter(prefix="/secrets", tags=["Secrets"])

Reader = Annotated[Principal, Depends(Requires(Permission.SECRETS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.SECRETS_WRITE))]
Name = Annotated[SecretName, Path(description="The name by which configurations refer to it")]
Shared = Annotated[bool, Query(description="Whether the shared secret of this name is meant, not one's own")]

_MCPS_AT_ONCE = 200
_NAMED = 20


class SecretView(Contract):
    """A secret without its value."""

    name: str
    shared: bool
    created_at: Moment
    updated_at: Moment


class SecretList(Contract):
    """One's own secrets, and the shared ones if one may use or share them, by name."""

    secrets: list[SecretView]
    total: int


class SecretDeleted(Contract):
    """A secret was removed."""

    message: str
    name: str


@router.put("/{name}", responses={201: {"model": SecretView}})
async def put_secret(
    name: Name, order: PutSecret, caller: Writer, parts: PartsDep, response: Response
) -> SecretView:
    """Store a secret, or replace its value; replicas that run already keep the one they were started with.

    One's own secret and the shared one of the same name are two: the body's `shared` says which.
    """
    _check_sharing(order.shared, caller)
    holder = SHARED if order.shared else caller.user_id.hex
    value = order.value.get_secret_value()
    now = datetime.now(UTC)
    async with parts.stores.write() as rows:
        while True:
            secret = await rows.secrets.get(holder, name)
            if secret is None:
                secret = Secret(id=uuid4(), holder=holder, name=name, created_at=now, updated_at=now)
                if await rows.secrets.add(secret, parts.sealer.seal(value.encode(), secret.purpose)):
                    response.status_code = status.HTTP_201_CREATED
                    return _view(secret)
            elif await rows.secrets.replace(
                secret.id, parts.sealer.seal(value.encode(), secret.purpose), now
            ):
                return _view(secret.model_copy(update={"updated_at": now}))


@router.get("")
async def list_secrets(caller: Reader, parts: PartsDep) -> SecretList:
    """List one's own secrets, and the shared ones if one may use or share them; never their values."""
    async with parts.stores.read() as rows:
        found = await rows.secrets.list(caller.user_id.hex, *([SHARED] if _knows_shared(caller) else []))
    return SecretList(secrets=[_view(secret) for secret in found], total=len(found))


@router.get("/{name}")
async def get_secret(name: Name, caller: Reader, parts: PartsDep) -> SecretView:
    """Tell what `${name}` stands for in one's own configurations: one's own secret, else the shared one."""
    async with parts.stores.read() as rows:
        secret = await rows.secrets.get(caller.user_id.hex, name)
        if secret is None and _knows_shared(caller):
            secret = await rows.secrets.get(SHARED, name)
    if secret is None:
        raise NotFound("secret", name)
    return _view(secret)


@router.delete("/{name}")
async def delete_secret(
    name: Name,
    caller: Writer,
    parts: PartsDep,
    shared: Shared = False,
    force: Annotated[bool, Query(description="Whether to remove it although it is referred to")] = False,
) -> SecretDeleted:
    """Remove a secret; refused while a present or deployed configuration refers to it, unless forced."""
    _check_sharing(shared, caller)
    async with parts.stores.read() as rows:
        secret = await rows.secrets.get(SHARED if shared else caller.user_id.hex, name)
    if secret is None:
        raise NotFound("secret", name)
    if not force:
        _check_unused(name, await _uses(parts, secret, None if shared else caller.user_id))
    async with parts.stores.write() as rows:
        await rows.secrets.delete(secret.id)
    return SecretDeleted(message="Secret deleted successfully", name=name)


@dataclass
class _Uses:
    """Where a secret is meant."""

    mcps: list[Mcp] = field(default_factory=list)
    """Those whose present configuration refers to it."""
    deployments: list[Deployment] = field(default_factory=list)
    """Active ones of a configuration that refers to it, whether it is the present one or not."""


def _check_unused(name: str, uses: _Uses) -> None:
    mcps, deployments = uses.mcps[:_NAMED], uses.deployments[:_NAMED]
    if not mcps and not deployments:
        return
    found = [
        f"{what} {', '.join(sorted(slugs))}"
        for what, slugs in (
            ("the configurations of", {mcp.slug for mcp in mcps}),
            ("the running deployments of", {deployment.slug for deployment in deployments}),
        )
        if slugs
    ]
    raise Conflict(
        f"To this secret refer {' and '.join(found)}; change or stop them first, or repeat with force=true",
        resource_type="secret",
        resource_id=name,
        mcps=[{"id": str(mcp.id), "slug": mcp.slug} for mcp in mcps],
        deployments=[{"id": str(each.id), "slug": each.slug} for each in deployments],
    )


async def _uses(parts: Parts, secret: Secret, author_id: UUID | None) -> _Uses:
    """Find where a secret is meant: all such places, or as many as are named."""
    deployed: defaultdict[UUID, list[Deployment]] = defaultdict(list)
    async with parts.stores.read() as rows:
        holders = await rows.secrets.holders_of(secret.name)
        for deployment in await rows.deployments.active():
            deployed[deployment.mcp_id].append(deployment)
    uses = _Uses()
    async for page in _all_mcps(parts, author_id):
        mcps = await _meaning_shared(parts, page, holders) if secret.shared else page
        running = [deployment for mcp in mcps for deployment in deployed[mcp.id]]
        keys = {mcp.config_key for mcp in mcps} | {each.config_key for each in running}
        configs = await parts.stores.documents.get_many(Collection.CONFIGS, sorted(keys))
        found = {key for key in keys if secret.name in references(configs.get(key))}
        uses.mcps += [mcp for mcp in mcps if mcp.config_key in found]
        uses.deployments += [each for each in running if each.config_key in found]
        if len(uses.mcps) >= _NAMED:
            break
    return uses


async def _meaning_shared(parts: Parts, mcps: list[Mcp], holders: set[str]) -> list[Mcp]:
    """Leave out MCPs whose authors may not use shared secrets, or have their own of the name."""
    async with parts.stores.read() as rows:
        using = await rows.secrets.using_shared({mcp.author_id for mcp in mcps})
    return [mcp for mcp in mcps if mcp.author_id in using and mcp.author_id.hex not in holders]


async def _all_mcps(parts: Parts, author_id: UUID | None) -> AsyncIterator[list[Mcp]]:
    after: UUID | None = None
    while True:
        async with parts.stores.read() as rows:
            mcps = await rows.mcps.walk(author_id, after, _MCPS_AT_ONCE)
        if not mcps:
            return
        yield mcps
        after = mcps[-1].id


def _check_sharing(shared: bool, caller: Principal) -> None:
    if shared and Permission.SECRETS_SHARE not in caller.permissions:
        raise Forbidden(Permission.SECRETS_SHARE)


def _knows_shared(caller: Principal) -> bool:
    return not caller.permissions.isdisjoint({Permission.SECRETS_USE, Permission.SECRETS_SHARE})


def _view(secret: Secret) -> SecretView:
    return SecretView(
        name=secret.name,
        shared=secret.shared,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )
