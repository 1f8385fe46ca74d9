"""The contract of stored secrets."""

from uuid import uuid4

from mcp_platform.contracts.secrets import SHARED, Secret
from storage.sql.engine import Database
from storage.sql.secrets import SecretRepository
from tests.storage.crowd import crowd
from tests.storage.samples import NOON


def secret(holder: str, name: str) -> Secret:
    """Describe a secret."""
    return Secret(id=uuid4(), holder=holder, name=name, created_at=NOON, updated_at=NOON)


async def stored(database: Database, holder: str, name: str) -> Secret:
    """Store a secret whose sealed value names its holder."""
    new = secret(holder, name)
    async with database.write() as session:
        assert await SecretRepository(session).add(new, f"sealed for {holder}")
    return new


async def test_an_owners_secret_wins_over_a_shared_one_and_nobody_elses_counts(database: Database) -> None:
    owner, stranger = uuid4(), uuid4()
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
        assert set(await secrets.sealed(None, names)) == {"BOTH", "ONLY_SHARED"}
        assert await secrets.holders_of("BOTH") == {owner.hex, SHARED}
        listed = [(each.name, each.shared) for each in await secrets.list(owner.hex, SHARED)]
        assert sorted(listed) == [("BOTH", False), ("BOTH", True), ("ONLY_SHARED", True), ("case", False)]


async def test_of_many_who_store_one_name_exactly_one_makes_it(database: Database) -> None:
    async def add(number: int) -> bool:
        async with database.write() as session:
            return await SecretRepository(session).add(secret(SHARED, "ONE"), f"{number}")

    outcomes = await crowd(24, add)
    assert sorted(map(str, outcomes)) == ["False"] * 23 + ["True"]


async def test_a_secret_is_replaced_and_deleted_once(database: Database) -> None:
    made = await stored(database, SHARED, "ONE")
    later = NOON.replace(hour=13)
    async with database.write() as session:
        secrets = SecretRepository(session)
        assert await secrets.replace(made.id, "anew", later)
        assert (await secrets.get(SHARED, "ONE")) == made.model_copy(update={"updated_at": later})
        assert (await secrets.sealed(None, ["ONE"])) == {"ONE": (made.id, "anew")}
        assert await secrets.delete(made.id)
        assert not await secrets.delete(made.id)
        assert not await secrets.replace(made.id, "late", later)
