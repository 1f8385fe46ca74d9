"""The contract of stored secrets."""

from uuid import UUID, uuid4

from mcp_platform.contracts.access import Permission, RoleDetails
from mcp_platform.contracts.secrets import SHARED, Secret
from storage.sql.access import RoleRepository, UserRepository
from storage.sql.engine import Database
from storage.sql.secrets import SecretRepository
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, user


def secret(holder: str, name: str) -> Secret:
    """Describe a secret."""
    return Secret(id=uuid4(), holder=holder, name=name, created_at=NOON, updated_at=NOON)


async def stored(database: Database, holder: str, name: str) -> Secret:
    """Store a secret whose sealed value names its holder."""
    new = secret(holder, name)
    async with database.write() as session:
        assert await SecretRepository(session).add(new, f"sealed for {holder}")
    return new


async def account(database: Database, role: str) -> UUID:
    """Store an account of this role."""
    new = user(username=f"user-{uuid4().hex[:8]}", email=f"{uuid4().hex[:8]}@example.com", role=role)
    async with database.write() as session:
        await UserRepository(session).add(new, "hash")
    return new.id


async def test_an_owners_secret_wins_over_a_shared_one_and_nobody_elses_counts(database: Database) -> None:
    owner, stranger = await account(database, "admin"), uuid4()
    for holder, name in (
        (owner.hex, "BOTH"),
        (SHARED, "BOTH"),
        (SHARED, "ONLY_SHARED"),
        (stranger.hex, "THEIRS"),
        (owner.hex, "case"),
    ):
        await stored(database, holder, name)
    names = ["BOTH", "ONLY_SHARED", "THEIRS", "CASE", "NONE"]
    async with database.read() as session:
        secrets = SecretRepository(session)
        found = {name: sealed for name, (_, sealed) in (await secrets.sealed(owner, names)).items()}
        assert found == {"BOTH": f"sealed for {owner.hex}", "ONLY_SHARED": "sealed for shared"}
        assert await secrets.holders_of("BOTH") == {owner.hex, SHARED}
        listed = [(each.name, each.shared) for each in await secrets.list(owner.hex, SHARED)]
        assert sorted(listed) == [("BOTH", False), ("BOTH", True), ("ONLY_SHARED", True), ("case", False)]


async def test_shared_secrets_count_only_for_owners_whose_present_role_may_use_them(
    database: Database,
) -> None:
    await stored(database, SHARED, "ONE")
    now = {"created_at": NOON, "updated_at": NOON, "description": ""}
    trusted = RoleDetails(name="trusted", permissions=[Permission.SECRETS_USE], **now)
    plain = RoleDetails(name="plain", permissions=[Permission.SECRETS_SHARE], **now)
    async with database.write() as session:
        for role in (trusted, plain):
            await RoleRepository(session).add(role)
    by_role = {
        role: await account(database, role) for role in ("admin", "developer", "viewer", "trusted", "plain")
    }

    async def using() -> set[str]:
        async with database.read() as session:
            secrets = SecretRepository(session)
            allowed = await secrets.using_shared({*by_role.values(), uuid4()})
            for owner in by_role.values():
                assert bool(await secrets.sealed(owner, ["ONE"])) == (owner in allowed)
            assert await secrets.sealed(uuid4(), ["ONE"]) == {}
        return {role for role, owner in by_role.items() if owner in allowed}

    assert await using() == {"admin", "trusted"}
    async with database.write() as session:
        await RoleRepository(session).change(trusted.model_copy(update={"permissions": []}))
    assert await using() == {"admin"}


async def test_of_many_who_store_one_name_exactly_one_makes_it(database: Database) -> None:
    async def add(number: int) -> bool:
        async with database.write() as session:
            return await SecretRepository(session).add(secret(SHARED, "ONE"), f"{number}")

    outcomes = await crowd(24, add)
    assert sorted(map(str, outcomes)) == ["False"] * 23 + ["True"]


async def test_a_secret_is_replaced_and_deleted_once(database: Database) -> None:
    owner = uuid4()
    made = await stored(database, owner.hex, "ONE")
    later = NOON.replace(hour=13)
    async with database.write() as session:
        secrets = SecretRepository(session)
        assert await secrets.replace(made.id, "anew", later)
        assert (await secrets.get(owner.hex, "ONE")) == made.model_copy(update={"updated_at": later})
        assert (await secrets.sealed(owner, ["ONE"])) == {"ONE": (made.id, "anew")}
        assert await secrets.delete(made.id)
        assert not await secrets.delete(made.id)
        assert not await secrets.replace(made.id, "late", later)
