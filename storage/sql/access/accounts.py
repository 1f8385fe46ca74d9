"""Accounts."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, insert, or_, select, update

from mcp_platform.contracts.access import Role, User
from mcp_platform.errors import Conflict
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, inserted
from storage.sql.tables import ConnectionRow, DeploymentRow, McpRow, SecretRow, UserRow


@dataclass(frozen=True)
class Account:
    """A user with what proves that it is them."""

    user: User
    password_hash: str


@dataclass(frozen=True)
class Belongings:
    """What keeps an account from being deleted."""

    mcps: int
    deployments: int
    connections: int
    """To repositories: their webhooks and tokens have to be removed there and here."""


class UserRepository(Repository[SessionT]):
    """Accounts."""

    async def add(self: "UserRepository[WriteSession]", user: User, password_hash: str) -> None:
        """Add an account.

        Raises:
            Conflict: The username or the e-mail address is taken, in whatever case; `field` says which.
        """
        values = user.model_dump() | {
            "password_hash": password_hash,
            "username_key": user.username.lower(),
            "email_key": user.email.lower(),
        }
        if not await inserted(self._session, insert(UserRow).values(values)):
            raise await self._taken(user)

    async def change(self: "UserRepository[WriteSession]", user: User) -> None:
        """Replace what is known of an account.

        Raises:
            Conflict: The username or the e-mail address is taken, in whatever case; `field` says which.
        """
        values = user.model_dump(exclude={"id", "created_at"}) | {
            "username_key": user.username.lower(),
            "email_key": user.email.lower(),
        }
        if not await inserted(self._session, update(UserRow).where(UserRow.id == user.id).values(values)):
            raise await self._taken(user)

    async def set_password(self: "UserRepository[WriteSession]", user_id: UUID, password_hash: str) -> None:
        """Replace the password."""
        change = update(UserRow).where(UserRow.id == user_id)
        await self._session.execute(change.values(password_hash=password_hash))

    async def delete(self: "UserRepository[WriteSession]", user_id: UUID) -> None:
        """Delete an account with its sessions, keys, second factor, and secrets that it did not share."""
        secrets = delete(SecretRow).where(SecretRow.holder == user_id.hex)
        await self._session.execute(secrets)
        await self._session.execute(delete(UserRow).where(UserRow.id == user_id))

    async def get(self, user_id: UUID) -> User | None:
        """Find the account with this id."""
        row = await self._session.get(UserRow, user_id)
        return user_of(row) if row else None

    async def find(self, user_id: UUID) -> Account | None:
        """Find the account with this id, and its proof."""
        row = await self._session.get(UserRow, user_id)
        return Account(user_of(row), row.password_hash) if row else None

    async def find_by_username(self, username: str) -> Account | None:
        """Find the account with this name, in whatever case."""
        query = select(UserRow).where(UserRow.username_key == username.lower())
        row = await self._session.scalar(query)
        return Account(user_of(row), row.password_hash) if row else None

    async def lock(self: "UserRepository[WriteSession]", user_id: UUID) -> Account | None:
        """Find an account, and keep others from changing it until this transaction ends."""
        query = select(UserRow).where(UserRow.id == user_id).with_for_update()
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return Account(user_of(row), row.password_hash) if row else None

    async def administrators(self) -> set[UUID]:
        """Name the active administrators."""
        query = select(UserRow.id).where(UserRow.role == Role.ADMIN.value, UserRow.is_active)
        return set(await self._session.scalars(query))

    async def list(
        self,
        *,
        page: int,
        page_size: int,
        search: str | None = None,
        role: str | None = None,
        is_active: bool | None = None,
    ) -> Page[User]:
        """List one page in the order of names; `search` looks in name and e-mail address."""
        query = select(UserRow).order_by(UserRow.username_key)
        if search:
            wanted = search.lower()
            query = query.where(
                or_(
                    UserRow.username_key.contains(wanted, autoescape=True),
                    UserRow.email_key.contains(wanted, autoescape=True),
                )
            )
        if role is not None:
            query = query.where(UserRow.role == role)
        if is_active is not None:
            query = query.where(UserRow.is_active == is_active)
        rows, total = await self._rows(query, page, page_size)
        return Page([user_of(row) for row in rows], total)

    async def belongings(self, user_id: UUID) -> Belongings:
        """Count the MCPs, the active deployments and the connections of an account."""
        mcps = select(func.count()).select_from(McpRow).where(McpRow.author_id == user_id)
        deployments = (
            select(func.count())
            .select_from(DeploymentRow)
            .where(DeploymentRow.owner_id == user_id, DeploymentRow.active_slug.is_not(None))
        )
        connections = select(func.count()).select_from(ConnectionRow).where(ConnectionRow.owner_id == user_id)
        return Belongings(
            mcps=await self._session.scalar(mcps) or 0,
            deployments=await self._session.scalar(deployments) or 0,
            connections=await self._session.scalar(connections) or 0,
        )

    async def count(self) -> int:
        """Count the accounts."""
        return await self._session.scalar(select(func.count()).select_from(UserRow)) or 0

    async def _taken(self, user: User) -> Conflict:
        same_name = select(UserRow.id).where(
            UserRow.username_key == user.username.lower(), UserRow.id != user.id
        )
        if await self._session.scalar(same_name):
            return Conflict("This username is taken", resource_type="user", field="username")
        return Conflict("This e-mail address is taken", resource_type="user", field="email")


def user_of(row: UserRow) -> User:
    """Give what everybody may see of the row."""
    return User.model_validate(row, from_attributes=True)
