"""Turning the entries of a file into MCPs: each of them wholly, or not at all."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.exchange import Imported
from mcp_platform.contracts.mcps import CreateMcp, McpConfig
from mcp_platform.contracts.secrets import MOST_BYTES, Secret
from mcp_platform.errors import Conflict
from mcp_platform.formats.credentials import PlainCredential, plain_credentials
from mcp_platform.formats.entries import Entry, NotImported
from mcp_platform.security.sealing import CannotUnseal
from mcp_platform.variables import references
from storage.registration import new_mcp, store_config


@dataclass
class _Secrets:
    """The secrets of one entry: which names stand for what, and which of them have to be made."""

    values: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)


async def import_entry(parts: Parts, entry: Entry, caller: Principal) -> Imported:
    """Make an MCP out of an entry; credentials in plain become secrets of the caller's.

    Raises:
        NotImported: It is not valid, its slug is taken, or its credentials cannot be stored.
    """
    # Found and judged first: what a credential is replaced by is always valid.
    order = _checked(entry)
    secrets = await _hide_credentials(parts, entry, caller)
    order = _checked(entry)
    mcp = new_mcp(order, caller.user_id)
    await store_config(parts.stores, mcp.config_key, order.config)
    now = mcp.created_at
    try:
        async with parts.stores.write() as rows:
            for name, value in secrets.new.items():
                secret = Secret(
                    id=uuid4(), holder=caller.user_id.hex, name=name, created_at=now, updated_at=now
                )
                if not await rows.secrets.add(secret, parts.sealer.seal(value.encode(), secret.purpose)):
                    raise NotImported(f"the secret {name} was stored by somebody else just now; try again")
            await rows.mcps.add(mcp, caller.user_id, order.config)
    except Conflict as conflict:
        raise NotImported(str(conflict)) from None
    return Imported(
        name=entry.name,
        id=mcp.id,
        slug=mcp.slug,
        secrets=sorted(secrets.values),
        unknown=await unknown_names(parts, entry.config, caller),
    )


def _checked(entry: Entry) -> CreateMcp:
    if not entry.slug:
        raise NotImported("its name has no letters or digits to make a slug of")
    try:
        return CreateMcp(
            name=(entry.title or entry.name)[:255],
            slug=entry.slug,
            description=entry.description[:10_000],
            version=entry.version,
            config=McpConfig.model_validate(entry.config),
        )
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors()
        )
        raise NotImported("; ".join(problems)) from None


async def _hide_credentials(parts: Parts, entry: Entry, caller: Principal) -> _Secrets:
    """Put `${NAME}` in the place of each credential that stands in the entry in plain."""
    secrets = _Secrets()
    for server in entry.config["servers"]:
        for credential in plain_credentials(server):
            if Permission.SECRETS_WRITE not in caller.permissions:
                raise NotImported(
                    f"{credential.name} looks like a credential, and you may not store secrets"
                    f" ({Permission.SECRETS_WRITE}); put ${{NAME}} in its place"
                )
            name = await _name_for(parts, entry.slug, credential, caller, secrets)
            server[credential.field][credential.name] = f"${{{name}}}"
    return secrets


async def _name_for(
    parts: Parts, slug: str, credential: PlainCredential, caller: Principal, secrets: _Secrets
) -> str:
    """Choose the first name that is free, or that stands for this very value already."""
    if len(credential.value.encode()) > MOST_BYTES:
        raise NotImported(f"the value of {credential.name} is larger than {MOST_BYTES} bytes")
    for name in credential.secret_names(slug):
        if name.startswith("MCP_PLATFORM_") or name in parts.settings.replicas.exposed_environment:
            continue
        known, new = await _known_value(parts, name, caller, secrets)
        if known is None and new:
            secrets.new[name] = credential.value
        elif known != credential.value:
            continue
        secrets.values[name] = credential.value
        return name
    raise NotImported(
        f"{credential.name} looks like a credential, and the names for its secret have other values already;"
        " put ${NAME} in its place"
    )


async def _known_value(
    parts: Parts, name: str, caller: Principal, secrets: _Secrets
) -> tuple[str | None, bool]:
    """Give what a name stands for in the caller's configurations, and whether it is free."""
    if name in secrets.values:
        return secrets.values[name], False
    async with parts.stores.read() as rows:
        found = (await rows.secrets.sealed(caller.user_id, [name])).get(name)
        own = await rows.secrets.get(caller.user_id.hex, name)
    if found is None:
        return None, True
    secret_id, sealed = found
    if own is None or own.id != secret_id:
        # A shared one: to say that a value is the same would tell it to whoever guesses.
        return None, False
    try:
        return parts.sealer.unseal(sealed, f"secret:{secret_id}").decode(), False
    except CannotUnseal:
        return None, False


async def unknown_names(parts: Parts, config: dict[str, Any], caller: Principal) -> list[str]:
    """List the names that a configuration refers to and that stand for nothing in the caller's."""
    names = references(config)
    async with parts.stores.read() as rows:
        known = await rows.secrets.sealed(caller.user_id, names)
    return sorted(names - known.keys() - set(parts.settings.replicas.exposed_environment))
