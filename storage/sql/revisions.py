"""Revisions of deployments: what each runs, ran, or was to run."""

import builtins
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import insert, select, update

from mcp_platform.contracts.deployments import Revision, RevisionContent, RevisionOutcome, RevisionState
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, inserted
from storage.sql.tables import RevisionRow

_OPEN: Final = (RevisionState.PENDING, RevisionState.ACTIVE)


class RevisionRepository(Repository[SessionT]):
    """Revisions. Whoever changes one locks its deployment first."""

    async def add(
        self: "RevisionRepository[WriteSession]", deployment_id: UUID, number: int, content: RevisionContent
    ) -> None:
        """Record a revision; the same one again is success. The first is active from the beginning."""
        values = content.model_dump() | {
            "deployment_id": deployment_id,
            "number": number,
            "config": content.config.model_dump(mode="json"),
            "state": RevisionState.ACTIVE if number == 1 else RevisionState.PENDING,
            "created_at": datetime.now(UTC),
        }
        await inserted(self._session, insert(RevisionRow).values(values))

    async def get(self, deployment_id: UUID, number: int) -> Revision | None:
        """Find one revision."""
        row = await self._session.get(RevisionRow, (deployment_id, number), populate_existing=True)
        return Revision.model_validate(row, from_attributes=True) if row else None

    async def list(self, deployment_id: UUID, limit: int = 100) -> builtins.list[Revision]:
        """List a deployment's revisions, the newest first."""
        query = (
            select(RevisionRow)
            .where(RevisionRow.deployment_id == deployment_id)
            .order_by(RevisionRow.number.desc())
            .limit(limit)
        )
        return [Revision.model_validate(r, from_attributes=True) for r in await self._session.scalars(query)]

    async def set_image(
        self: "RevisionRepository[WriteSession]", deployment_id: UUID, number: int, image: str
    ) -> None:
        """Record which image was built for a revision."""
        await self._session.execute(
            update(RevisionRow)
            .where(RevisionRow.deployment_id == deployment_id, RevisionRow.number == number)
            .values(image=image)
        )

    async def settle(self: "RevisionRepository[WriteSession]", outcome: RevisionOutcome) -> None:
        """Record what became of a revision; one that takes over supersedes the one before."""
        now = datetime.now(UTC)
        own = RevisionRow.deployment_id == outcome.deployment_id
        if outcome.state is RevisionState.ACTIVE:
            await self._session.execute(
                update(RevisionRow)
                .where(own, RevisionRow.number != outcome.number, RevisionRow.state.in_(_OPEN))
                .values(state=RevisionState.SUPERSEDED, ended_at=now)
            )
        await self._session.execute(
            update(RevisionRow)
            .where(own, RevisionRow.number == outcome.number, RevisionRow.state.in_(_OPEN))
            .values(
                state=outcome.state,
                reason=outcome.reason,
                ended_at=None if outcome.state is RevisionState.ACTIVE else now,
            )
        )

    async def end(self: "RevisionRepository[WriteSession]", deployment_id: UUID) -> None:
        """Record that nothing of a deployment runs any more."""
        await self._session.execute(
            update(RevisionRow)
            .where(RevisionRow.deployment_id == deployment_id, RevisionRow.state.in_(_OPEN))
            .values(state=RevisionState.SUPERSEDED, ended_at=datetime.now(UTC))
        )
