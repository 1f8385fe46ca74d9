"""Everything that is kept sealed, whatever it is: to seal it anew under another master key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Select, select, update
from sqlalchemy.orm import InstrumentedAttribute

from mcp_platform.contracts.github import connection_purpose
from mcp_platform.contracts.oauth import upstream_purpose
from mcp_platform.contracts.secrets import secret_purpose
from mcp_platform.security.audit_chain import PURPOSE as AUDIT_PURPOSE
from mcp_platform.security.sealing import CannotUnseal, Sealer
from mcp_platform.security.second_factor import totp_purpose
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import (
    AuditChainRow,
    ConnectionRow,
    SecondFactorRow,
    SecretRow,
    UpstreamAuthorizationRow,
)


@dataclass(frozen=True)
class SealedColumn:
    """A column of sealed values; `purpose` is what the value of a row is sealed for, by its key."""

    name: str
    key: InstrumentedAttribute[Any]
    value: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
    purpose: Callable[[Any], str]


SEALED: Final = (
    SealedColumn("secrets", SecretRow.id, SecretRow.sealed_value, secret_purpose),
    SealedColumn("second factors", SecondFactorRow.user_id, SecondFactorRow.sealed_secret, totp_purpose),
    *(
        SealedColumn(
            f"{what} of upstream authorizations",
            UpstreamAuthorizationRow.id,
            value,
            partial(upstream_purpose, what=what),
        )
        for what, value in (
            ("registration", UpstreamAuthorizationRow.sealed_registration),
            ("tokens", UpstreamAuthorizationRow.sealed_tokens),
            ("code", UpstreamAuthorizationRow.sealed_code),
        )
    ),
    *(
        SealedColumn(
            f"{what}s of connections", ConnectionRow.id, value, partial(connection_purpose, what=what)
        )
        for what, value in (
            ("token", ConnectionRow.sealed_token),
            ("webhook", ConnectionRow.sealed_webhook_secret),
        )
    ),
    SealedColumn("audit chain", AuditChainRow.id, AuditChainRow.sealed_key, lambda _key: AUDIT_PURPOSE),
)


@dataclass(frozen=True)
class Batch:
    """What became of some rows."""

    last: Any
    """The key of the last one; None if there were no more rows."""
    seen: int = 0
    resealed: int = 0
    failed: int = 0
    """Rows that no known key opens; they stay as they are."""


class SealedRepository(Repository[SessionT]):
    """Sealed values of all tables."""

    async def reseal(
        self: "SealedRepository[WriteSession]", column: SealedColumn, sealer: Sealer, after: Any, limit: int
    ) -> Batch:
        """Seal the next rows under the newest key, those with a key greater than `after`.

        A value that somebody replaces at this moment stays as they wrote it.
        """
        rows = list(await self._session.execute(_next(column, after, limit)))
        resealed = failed = 0
        for key, sealed in rows:
            if sealer.is_current(sealed):
                continue
            try:
                value = sealer.unseal(sealed, column.purpose(key))
            except CannotUnseal:
                failed += 1
                continue
            same = update(column.key.class_).where(column.key == key, column.value == sealed)
            anew = same.values({column.value: sealer.seal(value, column.purpose(key))})
            resealed += await changed_rows(self._session, anew)
        return Batch(rows[-1][0] if rows else None, len(rows), resealed, failed)


def _next(column: SealedColumn, after: Any, limit: int) -> Select[Any, str]:
    sealed = select(column.key, column.value).where(column.value.is_not(None))
    query = sealed.order_by(column.key).limit(limit).with_for_update()
    return query if after is None else query.where(column.key > after)
