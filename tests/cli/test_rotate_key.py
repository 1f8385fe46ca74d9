"""A new master key: everything is sealed under it, whatever interrupts the change."""

import base64
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from sqlalchemy import insert, select, update

from mcp_platform.cli import rotate_key as command
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.record import RunRecord, write_record
from mcp_platform.cli.rotate_key import rotate_key
from mcp_platform.cli.temporal_program import locked
from mcp_platform.contracts.secrets import Secret
from mcp_platform.security.keys import MasterKey, begin_rotation, load_master_key
from mcp_platform.security.sealing import CannotUnseal, Sealer, load_sealer
from mcp_platform.settings import SecuritySettings, Settings, SqlSettings
from storage.sql.engine import Database
from storage.sql.sealed import SEALED, SealedRepository
from storage.sql.secrets import SecretRepository
from storage.sql.tables import AuditChainRow, SecondFactorRow, SecretRow
from tests.end_to_end.programs import run
from tests.migrated import make_schema
from tests.storage.samples import stored_user

VALUES = {f"NAME_{number}": f"value {number}" for number in range(7)}


def embedded(folder: Path) -> Settings:
    """Give the settings of an embedded platform."""
    return Settings(data_dir=folder)


def with_keys(folder: Path, url: str, key: str | None, previous: str | None) -> Settings:
    """Give settings that have the keys in them."""
    security = SecuritySettings.model_validate({"master_key": key, "previous_master_key": previous})
    return Settings(data_dir=folder, sql=SqlSettings.model_validate({"url": url}), security=security)


def new_key() -> str:
    """Give a new master key."""
    return base64.b64encode(os.urandom(32)).decode()


async def fill(database: Database, sealer: Sealer) -> UUID:
    """Store a sealed value of each kind; whose second factor it is."""
    user = await stored_user(database)
    now = datetime.now(UTC)
    async with database.write() as session:
        for name, value in VALUES.items():
            secret = Secret(id=uuid4(), holder="shared", name=name, created_at=now, updated_at=now)
            await SecretRepository(session).add(secret, sealer.seal(value.encode(), secret.purpose))
        await session.execute(
            insert(SecondFactorRow).values(
                user_id=user.id,
                sealed_secret=sealer.seal(b"totp", f"totp:{user.id}"),
                created_at=now,
                confirmed_at=None,
                last_step=0,
            )
        )
        await session.execute(
            insert(AuditChainRow).values(
                id=1,
                first_seq=1,
                first_hash="",
                last_seq=0,
                last_hash="",
                ends_hash="",
                sealed_key=sealer.seal(b"chain", "audit-chain"),
            )
        )
    return user.id


async def opened(database: Database, sealer: Sealer) -> dict[str, str]:
    """Open every value, of each kind."""
    found = {}
    async with database.read() as session:
        for row in await session.scalars(select(SecretRow)):
            found[row.name] = sealer.unseal(row.sealed_value, f"secret:{row.id}").decode()
        for factor in await session.scalars(select(SecondFactorRow)):
            found["totp"] = sealer.unseal(factor.sealed_secret, f"totp:{factor.user_id}").decode()
        for chain in await session.scalars(select(AuditChainRow)):
            found["chain"] = sealer.unseal(chain.sealed_key, "audit-chain").decode()
    return found


EVERYTHING = {**VALUES, "totp": "totp", "chain": "chain"}


@pytest.fixture
async def platform_data(tmp_path: Path) -> Settings:
    """Give the data directory of an embedded platform with sealed values, which does not run."""
    settings = embedded(tmp_path)
    await make_schema(settings.sql_url)
    database = Database(settings.sql_url)
    await fill(database, load_sealer(settings))
    await database.close()
    return settings


async def readable(settings: Settings) -> dict[str, str]:
    """Read everything as a platform would that starts now."""
    database = Database(settings.sql_url)
    try:
        return await opened(database, load_sealer(settings))
    finally:
        await database.close()


async def test_an_embedded_platform_gets_a_new_key_and_everything_is_sealed_under_it(
    platform_data: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    old = load_master_key(platform_data)
    assert await rotate_key(platform_data) == 0
    new = load_master_key(platform_data)
    assert new.derive("x") != old.derive("x")
    assert sorted(path.name for path in platform_data.data_dir.glob("*key*")) == ["master.key"]
    assert stat.S_IMODE((platform_data.data_dir / "master.key").stat().st_mode) == 0o600
    database = Database(platform_data.sql_url)
    assert await opened(database, Sealer(new)) == EVERYTHING
    with pytest.raises(CannotUnseal):
        await opened(database, Sealer(old))
    await database.close()
    said = capsys.readouterr().out
    assert "secrets: 7 sealed anew, 7 in all" in said
    assert "second factors: 1 sealed anew" in said
    assert "sign in again" in said


class PowerCut(BaseException):
    """Everything stops here."""


def cut_power(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the power fail before the step of this number: a file that appears or goes, or a batch."""
    steps = count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **named: Any) -> Any:
            if next(steps) == step:
                raise PowerCut
            return real(*args, **named)

        return act

    monkeypatch.setattr(SealedRepository, "reseal", counted(SealedRepository.reseal))
    monkeypatch.setattr(os, "link", counted(os.link))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))


@pytest.mark.parametrize("step", range(1, 16))
async def test_a_power_cut_at_any_step_loses_nothing_and_the_next_attempt_finishes(
    platform_data: Settings, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    old = load_master_key(platform_data)
    with monkeypatch.context() as patched:
        patched.setattr(command, "_BATCH", 3)
        cut_power(patched, step)
        with pytest.raises(PowerCut):
            await rotate_key(platform_data)
    assert await readable(platform_data) == EVERYTHING
    assert await rotate_key(platform_data) == 0
    assert await readable(platform_data) == EVERYTHING
    assert load_master_key(platform_data).derive("x") != old.derive("x")
    assert not (platform_data.data_dir / "master.key.previous").exists()


async def test_between_the_steps_a_starting_platform_knows_both_keys(platform_data: Settings) -> None:
    assert begin_rotation(platform_data.data_dir) is True
    previous = platform_data.data_dir / "master.key.previous"
    assert stat.S_IMODE(previous.stat().st_mode) == 0o600
    assert await readable(platform_data) == EVERYTHING
    key = load_master_key(platform_data).derive("x")
    assert begin_rotation(platform_data.data_dir) is False
    assert load_master_key(platform_data).derive("x") == key


async def test_a_platform_that_runs_is_not_disturbed(platform_data: Settings) -> None:
    lock = locked(platform_data.data_dir / "temporal.pid")
    assert lock is not None
    with lock, pytest.raises(Failure, match="stop it first"):
        await rotate_key(platform_data)
    record = RunRecord(
        pid=os.getpid(), started=psutil.Process().create_time(), api="http://x", temporal_ui="http://x"
    )
    write_record(platform_data.data_dir, record)
    with pytest.raises(Failure, match="stop it first"):
        await rotate_key(platform_data)
    assert await readable(platform_data) == EVERYTHING


async def test_with_keys_from_the_settings_all_is_sealed_anew_on_each_engine(
    database: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = new_key(), new_key()
    before = with_keys(tmp_path, database_url, old, None)
    await fill(database, load_sealer(before))
    both = with_keys(tmp_path, database_url, new, old)
    # In the order that is documented, parts with both keys in either order open everything.
    assert await opened(database, load_sealer(with_keys(tmp_path, database_url, old, new))) == EVERYTHING
    assert await opened(database, load_sealer(both)) == EVERYTHING
    assert await rotate_key(both) == 0
    assert await opened(database, load_sealer(with_keys(tmp_path, database_url, new, None))) == EVERYTHING
    assert "PREVIOUS_MASTER_KEY" in capsys.readouterr().out
    assert await rotate_key(both) == 0
    assert "secrets: 0 sealed anew, 7 in all" in capsys.readouterr().out


async def test_batches_follow_one_another_without_gaps(database: Database) -> None:
    old, new = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))
    await fill(database, Sealer(old))
    batches: list[tuple[int, int]] = []
    last = None
    while True:
        async with database.write() as session:
            batch = await SealedRepository(session).reseal(SEALED[0], Sealer(new, old), last, 3)
        if batch.last is None:
            break
        batches.append((batch.seen, batch.resealed))
        last = batch.last
    assert batches == [(3, 3), (3, 3), (1, 1)]


async def test_what_no_key_opens_is_counted_and_keeps_both_keys(
    platform_data: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = Sealer(load_master_key(with_keys(platform_data.data_dir, "sqlite://", new_key(), None)))
    database = Database(platform_data.sql_url)
    async with database.write() as session:
        row = update(SecretRow).where(SecretRow.name == "NAME_3")
        await session.execute(row.values(sealed_value=stranger.seal(b"x", "y")))
    await database.close()
    assert await rotate_key(platform_data) == 1
    assert "secrets: 1 cannot be opened" in capsys.readouterr().out
    assert (platform_data.data_dir / "master.key.previous").exists()


@pytest.mark.parametrize(
    ("same", "says"), [(False, "set MCP_PLATFORM_SECURITY__PREVIOUS_MASTER_KEY"), (True, "are the same")]
)
async def test_settings_without_two_keys_are_refused(tmp_path: Path, same: bool, says: str) -> None:
    key = new_key()
    with pytest.raises(Failure, match=says):
        await rotate_key(with_keys(tmp_path, "sqlite+aiosqlite://", key, key if same else None))


async def test_the_command_rotates_the_key_of_a_data_directory(platform_data: Settings) -> None:
    old = load_master_key(platform_data).derive("x")
    ended = await run("rotate-key", "--data-dir", str(platform_data.data_dir))
    assert ended.status == 0, ended.stderr
    assert "secrets: 7 sealed anew, 7 in all" in ended.stdout
    assert load_master_key(platform_data).derive("x") != old
    assert await readable(platform_data) == EVERYTHING
