"""Second factors, and the recovery codes that stand in for them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import delete, insert, select, update

from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import RecoveryCodeRow, SecondFactorRow


@dataclass(frozen=True)
class Factor:
    """An account's authenticator, sealed."""

    sealed_secret: str
    confirmed: bool
    last_step: int
    """The newest time step whose code was used."""


class FactorRepository(Repository[SessionT]):
    """Authenticators and recovery codes. What changes them runs while the account is locked."""

    async def get(self, user_id: UUID) -> Factor | None:
        """Find an account's authenticator, whether it is on or still to be confirmed."""
        query = select(SecondFactorRow).where(SecondFactorRow.user_id == user_id)
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return Factor(row.sealed_secret, row.confirmed_at is not None, row.last_step) if row else None

    async def confirmed(self, user_ids: Collection[UUID]) -> set[UUID]:
        """Tell whose authenticator is on."""
        query = select(SecondFactorRow.user_id).where(
            SecondFactorRow.user_id.in_(user_ids), SecondFactorRow.confirmed_at.is_not(None)
        )
        return set(await self._session.scalars(query))

    async def put(self: "FactorRepository[WriteSession]", user_id: UUID, sealed_secret: str) -> None:
        """Record an authenticator that is still to be confirmed, instead of any other."""
        await self.remove(user_id)
        factor = insert(SecondFactorRow).values(
            user_id=user_id,
            sealed_secret=sealed_secret,
            created_at=datetime.now(UTC),
            confirmed_at=None,
            last_step=0,
        )
        await self._session.execute(factor)

    async def confirm(self: "FactorRepository[WriteSession]", user_id: UUID) -> None:
        """Turn an authenticator on."""
        factor = update(SecondFactorRow).where(SecondFactorRow.user_id == user_id)
        await self._session.execute(factor.values(confirmed_at=datetime.now(UTC)))

    async def remove(self: "FactorRepository[WriteSession]", user_id: UUID) -> bool:
        """Forget an account's authenticator and its recovery codes; false when there was none."""
        await self._session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))
        factor = delete(SecondFactorRow).where(SecondFactorRow.user_id == user_id)
        return await changed_rows(self._session, factor) == 1

    async def use_step(self: "FactorRepository[WriteSession]", user_id: UUID, step: int) -> bool:
        """Use the code of a time step up; false when it, or a later one, was used before."""
        unused = update(SecondFactorRow).where(
            SecondFactorRow.user_id == user_id, SecondFactorRow.last_step < step
        )
        return await changed_rows(self._session, unused.values(last_step=step)) == 1

    async def replace_codes(
        self: "FactorRepository[WriteSession]", user_id: UUID, hashes: Collection[str]
    ) -> None:
        """Make these an account's only recovery codes."""
        await self._session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))
        codes = [
            {"id": uuid4(), "user_id": user_id, "code_hash": code_hash, "spent_at": None}
            for code_hash in hashes
        ]
        await self._session.execute(insert(RecoveryCodeRow), codes)

    async def spend_code(self: "FactorRepository[WriteSession]", user_id: UUID, code_hash: str) -> bool:
        """Use a recovery code up; false when there is none like it."""
        unspent = update(RecoveryCodeRow).where(
            RecoveryCodeRow.user_id == user_id,
            RecoveryCodeRow.code_hash == code_hash,
            RecoveryCodeRow.spent_at.is_(None),
        )
        return await changed_rows(self._session, unspent.values(spent_at=datetime.now(UTC))) == 1
