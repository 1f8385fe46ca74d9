"""`mcp-platform verify-audit`: whether the audit log is as the platform wrote it."""

import json
import sys

from mcp_platform.cli.failure import Failure
from mcp_platform.cli.trouble import told_plainly
from mcp_platform.contracts.audit import Verification
from mcp_platform.security.sealing import CannotUnseal, load_sealer
from mcp_platform.settings import Settings
from storage.sql.audit_check import AuditCheck
from storage.sql.engine import Database


async def verify_audit(settings: Settings, *, as_json: bool) -> int:
    """Print what was found; 0 if the log is whole, 1 if it is not.

    Raises:
        Failure: It cannot be read, or was written under another master key.
    """
    _look_for_data(settings)
    database = Database(settings.sql_url)
    try:
        with told_plainly():
            found = await AuditCheck(database, load_sealer(settings)).run()
    except CannotUnseal as error:
        raise Failure(f"the audit log's key cannot be opened: {error}; correct the master key") from None
    finally:
        await database.close()
    sys.stdout.write(f"{json.dumps(found.model_dump(mode='json')) if as_json else _in_words(found)}\n")
    return 0 if found.breach is None else 1


def _look_for_data(settings: Settings) -> None:
    """Make sure that there is something to check: opening it would make it."""
    needed = []
    if settings.sql.url is None:
        needed.append(settings.data_dir / "platform.db")
    if settings.security.master_key is None:
        needed.append(settings.data_dir / "master.key")
    for path in needed:
        if not path.exists():
            raise Failure(f"{path} does not exist; choose the data directory with --data-dir")


def _in_words(found: Verification) -> str:
    if found.entries:
        whole = (
            f"{found.entries} entries are whole, number {found.first_seq} to {found.last_seq},"
            f" from {found.first_at:%Y-%m-%d %H:%M:%S} to {found.last_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    else:
        whole = "No entry is whole" if found.breach else "The audit log is empty"
    if found.breach is None:
        return f"{whole}.\nThe last hash is {found.last_hash}."
    return f"{whole}.\nEntry {found.breach.seq}: {found.breach.kind}."
