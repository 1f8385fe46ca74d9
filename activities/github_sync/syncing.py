"""The steps of a sync: read the repository, write one MCP, record what was done; each may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.github_sync.cases import Case, Cases, Registration
from activities.github_sync.drift import TellDrift
from activities.github_sync.faults import failure_of
from activities.github_sync.planning import gone, origin_of, part, registration_of, report_of, summary_of
from activities.github_sync.reading import Reading, read_repository
from activities.heartbeat import beating
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.github import (
    ChangeOutcome,
    Connection,
    ConnectionState,
    Definition,
    DefinitionReport,
    SealedConnection,
    SyncReport,
    sync_task,
)
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.contracts.repositories import FaultKind, GitHubFault
from mcp_platform.contracts.syncing import (
    FinishOrder,
    FoundDefinition,
    PlanMade,
    PlannedDefinition,
    SyncPlan,
    SyncStep,
    WriteOrder,
)
from mcp_platform.errors import Conflict, NotFound
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from activities.clients.github import GitHubs
    from storage.sql.audit import AuditLog
    from storage.sql.engine import WriteSession
    from storage.stores import Rows, Stores

_LASTING = frozenset({FaultKind.NO_SUCH_REPOSITORY, FaultKind.NO_ACCESS, FaultKind.TOKEN_EXPIRED})
"""What a person has to mend: the connection says so until GitHub answers again."""
_WRITTEN = frozenset({ChangeOutcome.ADDED, ChangeOutcome.CHANGED})


class SyncActivities:
    """Bring MCPs in step with the definitions of a repository.

    Args:
        stores: Where connections and MCPs are.
        registration: Registers MCPs and changes them.
        githubs: Opens GitHub.
        audit: Is told of each MCP that a sync writes.
        tell_drift: Tells listeners how repository and platform stand to each other now.
    """

    def __init__(
        self,
        stores: Stores,
        registration: Registration,
        githubs: GitHubs,
        audit: AuditLog,
        tell_drift: TellDrift,
    ) -> None:
        self._stores = stores
        self._registration = registration
        self._githubs = githubs
        self._audit = audit
        self._tell_drift = tell_drift

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.reopen, self.read, self.write, self.finish, self.forget]

    @activity.defn(name="github.reopen_sync")
    async def reopen(self, step: SyncStep) -> None:
        """Begin the task anew, for a sync that follows right behind another one."""
        sealed = await self._sealed(step)
        async with self._stores.write() as rows:
            await rows.tasks.reopen(sync_task(sealed.connection, datetime.now(UTC)))

    @activity.defn(name="github.read_definitions")
    async def read(self, step: SyncStep) -> PlanMade:
        """Read the branch's head, hold all definitions against the MCPs, and keep what there is to do."""
        async with beating():
            sealed = await self._sealed(step)
            permissions = await self._permissions(sealed.connection)
            reading = await self._read(sealed)
            connection = sealed.connection.model_copy(update={"full_name": reading.full_name})
            cases = Cases(self._stores, self._registration, connection, permissions, force=step.force)
            plan = await self._plan(connection, cases, reading)
            await self._stores.documents.put(
                Collection.SYNC_REPORTS, step.key, plan.model_dump(mode="json", exclude_unset=True)
            )
            # Of two attempts the first one's counts, as it is the one that is kept.
            plan = await self._kept(step)
            return PlanMade(commit=plan.commit, to_write=len(plan.to_write))

    @activity.defn(name="github.write_definition")
    async def write(self, order: WriteOrder) -> DefinitionReport:
        """Bring one MCP in step, as things are now; tell what became of it."""
        plan = await self._kept(order)
        planned = plan.to_write[order.place]
        found = planned.found
        connection = (await self._sealed(order)).connection
        permissions = await self._permissions(connection)
        origin = origin_of(plan.full_name, plan.commit, found.path)
        if done := await self._done(planned, connection, origin):
            return done
        cases = Cases(self._stores, self._registration, connection, permissions, force=order.force)
        case = await cases.judge(found, planned.mcp_id)
        decision = case.decision
        try:
            mcp = await self._carried_out(case, planned, connection, origin)
        except Conflict as conflict:
            if case.mcp is None:
                return report_of(found, ChangeOutcome.REFUSED, reason=str(conflict))
            # Somebody else changed it this very moment: what that means is judged anew.
            raise ApplicationError(str(conflict), type="ChangedMeanwhile") from None
        if decision.outcome in _WRITTEN:
            await self._audit.append([_written(connection, mcp, origin)])
        return report_of(
            found,
            decision.outcome,
            mcp_id=mcp.id if mcp else case.mcp_id,
            version=mcp.version if mcp else None,
            reason=decision.reason,
        )

    @activity.defn(name="github.finish_sync")
    async def finish(self, order: FinishOrder) -> SyncReport:
        """Record which commit the MCPs are in step with now, and what is gone."""
        plan = await self._kept(order)
        reports = sorted([*order.written, *plan.settled], key=lambda each: (each.path, each.entry))
        removed = {(each.path, each.entry) for each in reports if each.outcome is ChangeOutcome.REMOVED}
        refused = {(each.path, each.entry) for each in reports if each.outcome is ChangeOutcome.REFUSED}
        now = datetime.now(UTC)
        async with self._stores.write() as rows:
            for row in await rows.connections.definitions(order.connection_id):
                changed = row.model_copy(
                    update={
                        "gone": row.gone or (row.path, row.entry) in removed,
                        "refused": bool({(row.path, row.entry), (row.path, "")} & refused),
                    }
                )
                if changed != row:
                    await rows.connections.put_definition(changed)
            await rows.connections.update(
                order.connection_id,
                now,
                synced_commit=plan.commit,
                synced_at=now,
                head_commit=plan.commit,
            )
        await self._tell_drift(self._stores, order.connection_id)
        counts = {outcome: sum(each.outcome is outcome for each in reports) for outcome in ChangeOutcome}
        return SyncReport(
            connection_id=order.connection_id,
            commit=plan.commit,
            branch=plan.branch,
            files=plan.files,
            definitions=reports,
            message=summary_of(reports) or "; ".join(plan.warnings),
            warnings=plan.warnings,
            **{outcome.value: count for outcome, count in counts.items()},
        )

    @activity.defn(name="github.forget_plan")
    async def forget(self, step: SyncStep) -> None:
        """Remove the plan of a sync that is done; finding none is success."""
        await self._stores.documents.delete(Collection.SYNC_REPORTS, step.key)

    async def _sealed(self, step: SyncStep) -> SealedConnection:
        async with self._stores.read() as rows:
            sealed = await rows.connections.sealed(step.connection_id)
        if sealed is None or sealed.connection.state not in _USABLE:
            raise ApplicationError("the connection has ended", type="ConnectionEnded", non_retryable=True)
        return sealed

    async def _permissions(self, connection: Connection) -> frozenset[Permission]:
        """Tell what the connection's owner may do now: a sync does no more."""
        async with self._stores.read() as rows:
            owner = await rows.users.get(connection.owner_id)
            allowed = await rows.roles.permissions(owner.role) if owner else None
        if owner is None or not owner.is_active:
            raise ApplicationError(
                "the account of the connection's owner is disabled", type="OwnerDisabled", non_retryable=True
            )
        lacking = {Permission.GITHUB_WRITE, Permission.MCPS_WRITE} - (allowed or frozenset())
        if lacking:
            raise ApplicationError(
                f"the connection's owner may not do this any more: {', '.join(sorted(lacking))} is missing",
                type="OwnerMayNot",
                non_retryable=True,
            )
        return allowed or frozenset()

    async def _read(self, sealed: SealedConnection) -> Reading:
        connection = sealed.connection
        try:
            async with self._githubs.opened(sealed) as github:
                reading = await read_repository(github, connection)
        except GitHubFault as fault:
            if fault.kind in _LASTING:
                await self._note(connection, ConnectionState.REFUSED, fault.message)
            elif fault.kind is FaultKind.NOT_FOUND:
                await self._note(connection, connection.state, fault.message)
            raise _failure(fault) from None
        if connection.state is ConnectionState.REFUSED or connection.reason is not None:
            await self._note(connection, ConnectionState.CONNECTED, None)
        if reading.full_name != connection.full_name:
            renamed = connection.model_copy(update={"full_name": reading.full_name})
            async with self._stores.write() as rows:
                await rows.connections.settle(renamed, datetime.now(UTC))
        return reading

    async def _note(self, connection: Connection, state: ConnectionState, reason: str | None) -> None:
        async with self._stores.write() as rows:
            await rows.connections.update(connection.id, datetime.now(UTC), state=state, reason=reason)

    async def _plan(self, connection: Connection, cases: Cases, reading: Reading) -> SyncPlan:
        async with self._stores.read() as rows:
            known = await rows.connections.definitions(connection.id)
        parted = part(reading.found, known)
        refused = [*reading.refused, *parted.refused]
        settled = [report_of(each, ChangeOutcome.REFUSED, reason=each.reason) for each in refused]
        to_write: list[PlannedDefinition] = []
        matched = await cases.matched(parted.counted, known)
        for found, mcp_id in matched:
            case = await cases.judge(found, mcp_id)
            blob = reading.blobs[found.path]
            if _is_settled(case, found.path, found.entry, blob):
                settled.append(_settled_report(case, found))
                continue
            revision = case.row.revision if case.row else 0
            to_write.append(
                PlannedDefinition(found=found, blob=blob, mcp_id=mcp_id, synced_revision=revision)
            )
        for row in gone(known, {mcp_id for _, mcp_id in matched}, settled):
            settled.append(await self._removed(row))
        return SyncPlan(
            commit=reading.commit,
            branch=connection.branch,
            full_name=reading.full_name,
            files=reading.files,
            to_write=to_write,
            settled=settled,
            warnings=reading.warnings,
        )

    async def _removed(self, row: Definition) -> DefinitionReport:
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(row.mcp_id)
        return DefinitionReport(
            path=row.path,
            entry=row.entry,
            outcome=ChangeOutcome.REMOVED,
            slug=mcp.slug if mcp else None,
            mcp_id=row.mcp_id,
            version=mcp.version if mcp else None,
            reason="it is not in the repository any more; the MCP stays as it is",
        )

    async def _kept(self, step: SyncStep) -> SyncPlan:
        body = await self._stores.documents.get(Collection.SYNC_REPORTS, step.key)
        if body is None:
            raise ApplicationError("the sync's plan is gone", type="PlanMissing", non_retryable=True)
        return SyncPlan.model_validate(body)

    async def _done(
        self, planned: PlannedDefinition, connection: Connection, origin: str
    ) -> DefinitionReport | None:
        """Find what an earlier attempt at this has written."""
        async with self._stores.read() as rows:
            known = await rows.connections.definitions(connection.id)
            row = next((each for each in known if each.mcp_id == planned.mcp_id), None)
            if row is None or row.revision <= planned.synced_revision or row.blob != planned.blob:
                return None
            entry = await rows.mcps.revision(row.mcp_id, row.revision)
        if entry is None or entry.origin != origin:
            return None
        outcome = ChangeOutcome.ADDED if entry.change_type == "create" else ChangeOutcome.CHANGED
        return report_of(planned.found, outcome, mcp_id=row.mcp_id, version=entry.version)

    async def _carried_out(
        self, case: Case, planned: PlannedDefinition, connection: Connection, origin: str
    ) -> Mcp | None:
        """Write the MCP and the record of its definition, both or neither."""

        async def record(rows: Rows[WriteSession], mcp: Mcp) -> None:
            await _record(rows, connection, planned, mcp)

        decision, owner_id = case.decision, connection.owner_id
        if case.mcp is None:
            order = registration_of(planned.found)
            return await self._registration.register(
                self._stores, order, owner_id, mcp_id=planned.mcp_id, origin=origin, beside=record
            )
        if decision.change is not None and decision.outcome is ChangeOutcome.CHANGED:
            try:
                return await self._registration.revise(
                    self._stores, case.mcp, decision.change, owner_id, origin=origin, beside=record
                )
            except NotFound as error:
                raise ApplicationError(str(error), type="ChangedMeanwhile") from None
        if decision.outcome is ChangeOutcome.UNCHANGED:
            async with self._stores.write() as rows:
                if decision.in_step:
                    await _record(rows, connection, planned, case.mcp)
                elif case.row is not None:
                    # Where it stands now; what was last in step stays what it was.
                    moved = {"path": planned.found.path, "entry": planned.found.entry, "blob": planned.blob}
                    await _place(rows, case.row.model_copy(update={**moved, "gone": False}))
        return case.mcp


_USABLE = frozenset({ConnectionState.CONNECTED, ConnectionState.REFUSED})


def _failure(fault: GitHubFault) -> ApplicationError:
    """Make the failure of a fault: what passes is waited for by the workflow, which says until when."""
    if not fault.passing:
        return failure_of(fault)
    details = [fault.reset_at.isoformat()] if fault.reset_at else []
    return ApplicationError(fault.message, *details, type=fault.kind.value, non_retryable=True)


def _is_settled(case: Case, path: str, entry: str, blob: str) -> bool:
    """Tell whether there is nothing to write, not even where a definition stands."""
    decision, row = case.decision, case.row
    if decision.outcome is ChangeOutcome.REFUSED:
        return True
    if decision.outcome is not ChangeOutcome.UNCHANGED or row is None or case.mcp is None:
        return False
    stands = (row.path, row.entry, row.blob, row.gone) == (path, entry, blob, False)
    return stands and (not decision.in_step or row.config_key == case.mcp.config_key)


def _settled_report(case: Case, found: FoundDefinition) -> DefinitionReport:
    return report_of(
        found,
        case.decision.outcome,
        mcp_id=case.mcp_id,
        version=case.mcp.version if case.mcp else None,
        reason=case.decision.reason,
    )


async def _record(
    rows: Rows[WriteSession], connection: Connection, planned: PlannedDefinition, mcp: Mcp
) -> None:
    definition = Definition(
        connection_id=connection.id,
        path=planned.found.path,
        entry=planned.found.entry,
        mcp_id=mcp.id,
        blob=planned.blob,
        revision=mcp.revision,
        config_key=mcp.config_key,
    )
    await _place(rows, definition)


async def _place(rows: Rows[WriteSession], definition: Definition) -> None:
    """Record where the definition of an MCP stands; it stands nowhere else then."""
    for row in await rows.connections.definitions(definition.connection_id):
        if row.mcp_id == definition.mcp_id and (row.path, row.entry) != (definition.path, definition.entry):
            await rows.connections.delete_definition(row.connection_id, row.path, row.entry)
    await rows.connections.put_definition(definition)


def _written(connection: Connection, mcp: Mcp | None, origin: str) -> AuditEvent:
    return AuditEvent(
        at=datetime.now(UTC),
        actor_id=connection.owner_id,
        actor_name="platform",
        action="github.sync",
        resource_type="mcp_tool",
        resource_id=str(mcp.id) if mcp else "",
        outcome=AuditOutcome.SUCCESS,
        status=0,
        details={"connection_id": str(connection.id), "origin": origin},
    )
