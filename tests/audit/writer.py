"""A process of its own that writes entries: `python -m tests.audit.writer <url> <name> <count>`."""

import asyncio
import sys

from storage.sql.audit import AuditLog
from storage.sql.engine import Database
from tests.audit.samples import SEALER, event


async def main(url: str, name: str, count: int) -> None:
    """Write entries one after the other."""
    database = Database(url)
    log = AuditLog(database, SEALER)
    for number in range(count):
        await log.append([event(actor_name=name, resource_id=str(number))])
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
