"""`mcp-platform rotate-key`: a new master key, and all that is sealed sealed anew under it.

Whatever interrupts it, nothing is lost: both keys are kept until the last value is sealed under the new
one, each batch is a transaction, and a repetition goes on where the first attempt ended.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mcp_platform.cli.data_dir import prepare_data_dir
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.record import read_record
from mcp_platform.cli.temporal_program import locked
from mcp_platform.cli.trouble import told_plainly
from mcp_platform.security.keys import begin_rotation, finish_rotation, load_master_key, load_previous_key
from mcp_platform.security.sealing import Sealer, key_id, load_sealer
from mcp_platform.settings import Settings
from storage.sql.engine import Database
from storage.sql.sealed import SEALED, SealedColumn, SealedRepository

_BATCH = 200


@dataclass(frozen=True)
class Count:
    """What became of all values of one kind."""

    seen: int = 0
    resealed: int = 0
    failed: int = 0


async def rotate_key(settings: Settings) -> int:
    """Change the master key; 0 if all is sealed under the new one, 1 if something cannot be opened.

    Raises:
        Failure: The platform runs, or the settings do not give both keys.
    """
    if settings.security.master_key:
        _check_keys(settings)
        failed = await _reseal_all(settings)
        if not failed:
            _say("Every value is sealed under the new key. Take MCP_PLATFORM_SECURITY__PREVIOUS_MASTER_KEY")
            _say("away and restart each part.")
        return 1 if failed else 0
    prepare_data_dir(settings)
    with _platform_at_rest(settings):
        begun = begin_rotation(settings.data_dir)
        _say("A new master key is in place." if begun else "An earlier rotation goes on.")
        failed = await _reseal_all(settings)
        if failed:
            return 1
        finish_rotation(settings.data_dir)
    _say("Every value is sealed under the new key, and the previous one is removed. Back up master.key.")
    _say("Whoever was signed in has to sign in again; API keys hold.")
    return 0


def _check_keys(settings: Settings) -> None:
    previous = load_previous_key(settings)
    if previous is None:
        raise Failure(
            "set MCP_PLATFORM_SECURITY__PREVIOUS_MASTER_KEY to the key in use until now, and"
            " MCP_PLATFORM_SECURITY__MASTER_KEY to the new one (openssl rand -base64 32)"
        )
    if key_id(previous) == key_id(load_master_key(settings)):
        raise Failure(
            "MCP_PLATFORM_SECURITY__MASTER_KEY and MCP_PLATFORM_SECURITY__PREVIOUS_MASTER_KEY are the same;"
            " the first is the new key"
        )


@contextmanager
def _platform_at_rest(settings: Settings) -> Iterator[None]:
    """Hold off `mcp-platform up`: a process that knows only the old key could not open what it finds."""
    lock = None if read_record(settings.data_dir) else locked(settings.data_dir / "temporal.pid")
    if lock is None:
        raise Failure(f"a platform runs on {settings.data_dir.absolute()}; stop it first")
    with lock:
        yield


async def _reseal_all(settings: Settings) -> int:
    """Seal every kind anew, and tell how many values could not be opened."""
    sealer = load_sealer(settings)
    database = Database(settings.sql_url, settings.sql.pool_size)
    failed = 0
    try:
        for column in SEALED:
            with told_plainly():
                count = await _reseal(database, column, sealer)
            _say(f"{column.name}: {count.resealed} sealed anew, {count.seen} in all")
            failed += count.failed
            if count.failed:
                _say(
                    f"{column.name}: {count.failed} cannot be opened by either key; the keys stay as they are"
                )
    finally:
        await database.close()
    return failed


async def _reseal(database: Database, column: SealedColumn, sealer: Sealer) -> Count:
    count, last = Count(), None
    while True:
        async with database.write() as session:
            batch = await SealedRepository(session).reseal(column, sealer, last, _BATCH)
        if batch.last is None:
            return count
        last = batch.last
        count = Count(count.seen + batch.seen, count.resealed + batch.resealed, count.failed + batch.failed)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
