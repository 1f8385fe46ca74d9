"""The log book: nothing is lost, and it stays within its bounds."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.logs import Stream
from mcp_platform.settings import ReplicaLogSettings
from storage.logs.files import listed
from tests.logs.books import (
    BEGIN,
    ROOMY,
    line,
    lines,
    open_book,
    open_reader,
    order,
    texts,
    write_in_batches,
)
from tests.waiting import eventually

WRITER = """
import asyncio, sys
from pathlib import Path
from uuid import UUID
from tests.logs.books import ROOMY, open_book, order, write_in_batches

async def main():
    async with open_book(Path(sys.argv[1]), ROOMY) as book:
        await write_in_batches(book.of(order(UUID(sys.argv[2]))), int(sys.argv[3]), 50)

asyncio.run(main())
"""


def start_writer(folder: Path, deployment_id: UUID, count: int) -> subprocess.Popen[bytes]:
    """Start a process that writes lines."""
    arguments = [str(folder), str(deployment_id), str(count)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments])


def paths_of(folder: Path, deployment_id: UUID) -> list[Path]:
    """Give a deployment's files, in their order."""
    return [file.path for files in listed(folder / str(deployment_id)).values() for file in files]


async def test_lines_are_kept_in_their_order_over_many_files(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path, ROOMY) as book, open_reader(tmp_path) as reader:
        await write_in_batches(book.of(order(own)), 25_000, 70)
        assert len(paths_of(tmp_path, own)) > 10
        assert await texts(reader, own) == [f"line {number}" for number in range(25_000)]


async def test_a_kept_line_is_one_that_grep_understands(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book:
        await book.of(order(own)).write([line(0, "ERROR: no such\nfile", Stream.STDOUT)])
    (path,) = paths_of(tmp_path, own)
    assert path.read_text() == "2026-01-15T10:30:00.000000Z stdout error ERROR: no such\\nfile\n"
    assert path.stat().st_mode & 0o007 == 0


async def test_a_replica_that_is_restarted_goes_on_in_the_same_file(tmp_path: Path) -> None:
    own = uuid4()
    for first in (0, 10):
        async with open_book(tmp_path) as book:
            log = book.of(order(own))
            assert log.last_at == (BEGIN + timedelta(milliseconds=9) if first else None)
            await log.write(lines(first, first + 10))
    assert len(paths_of(tmp_path, own)) == 1
    async with open_reader(tmp_path) as reader:
        assert await texts(reader, own) == [f"line {number}" for number in range(20)]


async def test_a_line_that_a_crash_tore_harms_no_other(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        await book.of(order(own)).write(lines(0, 3))
        (path,) = paths_of(tmp_path, own)
        with path.open("ab") as torn:
            torn.write(b"2026-01-15T10:30:00.0")
        assert await texts(reader, own) == ["line 0", "line 1", "line 2"]
        await book.of(order(own)).write(lines(3, 5))
        assert await texts(reader, own) == [f"line {number}" for number in range(5)]


async def test_one_replica_keeps_only_its_newest_lines(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        await write_in_batches(book.of(order(own)), 10_000, 100)
        sizes = [path.stat().st_size for path in paths_of(tmp_path, own)]
        assert sum(sizes) <= book.settings.replica_bytes
        kept = await texts(reader, own)
    assert 500 < len(kept) < 10_000
    assert kept == [f"line {number}" for number in range(10_000 - len(kept), 10_000)]


async def test_all_replicas_together_keep_what_fits_and_write_on(tmp_path: Path) -> None:
    bounds = ReplicaLogSettings(file_bytes=65_536, replica_bytes=1_000_000, total_bytes=200_000)
    deployments = [uuid4() for _ in range(5)]
    async with open_book(tmp_path, bounds) as book, open_reader(tmp_path) as reader:
        logs = [book.of(order(own)) for own in deployments]
        for first in range(0, 3_000, 100):
            for log in logs:
                await log.write(lines(first, first + 100))
        held = sum(path.stat().st_size for own in deployments for path in paths_of(tmp_path, own))
        assert held <= bounds.total_bytes + bounds.file_bytes
        for own in deployments:
            kept = await texts(reader, own)
            assert kept[-1:] == ["line 2999"]


async def test_one_that_floods_pushes_out_its_own_lines_and_not_those_of_others(tmp_path: Path) -> None:
    bounds = ReplicaLogSettings(file_bytes=65_536, replica_bytes=10_000_000, total_bytes=300_000)
    quiet, flooding = uuid4(), uuid4()
    async with open_book(tmp_path, bounds) as book, open_reader(tmp_path) as reader:
        await book.of(order(quiet)).write(lines(0, 10))
        # Over several replicas too: what counts is what the deployment keeps.
        for ordinal in range(4):
            await write_in_batches(book.of(order(flooding, ordinal)), 5_000, 100)
        await book.prune()
        held = sum(path.stat().st_size for path in paths_of(tmp_path, flooding))
        assert 0 < held <= bounds.total_bytes
        assert await texts(reader, quiet) == [f"line {number}" for number in range(10)]
        assert (await texts(reader, flooding, ordinal=3))[-1:] == ["line 4999"]


async def test_a_log_goes_on_in_another_file_when_the_present_one_is_old(tmp_path: Path) -> None:
    own = uuid4()
    for files in (1, 2):
        async with open_book(tmp_path, ReplicaLogSettings(file_seconds=3600)) as book:
            log = book.of(order(own))
            for _ in range(3):
                # The times of these lines lie months back; what counts is when the file was begun.
                await log.write(lines(0, 3))
            assert len(paths_of(tmp_path, own)) == files


async def test_files_that_nobody_writes_any_more_are_removed_in_time(tmp_path: Path) -> None:
    old, fresh = uuid4(), uuid4()
    async with open_book(tmp_path) as book:
        for own in (old, fresh):
            await book.of(order(own)).write(lines(0, 3))
        long_ago = time.time() - (book.settings.retention_days * 86_400 + 60)
        os.utime(paths_of(tmp_path, old)[0], (long_ago, long_ago))
        assert await book.prune() == 1
        assert await book.deployments() == [fresh]
        await book.of(order(old)).write(lines(3, 4))
        await book.forget(fresh)
        assert await book.deployments() == [old]


async def test_a_line_that_is_too_long_is_cut_between_characters_and_says_so(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        await book.of(order(own)).write([line(0, "é" * 100_000), line(1, "short")])
        cut, short = await texts(reader, own)
    assert cut == "é" * 8_192 + " …[cut, 200000 bytes]"
    assert short == "short"


async def test_a_clock_that_goes_back_does_not_disturb_the_order(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        await book.of(order(own)).write([line(5), line(2), line(7)])
        found = (await texts(reader, own), book.of(order(own)).last_at)
    assert found == (["line 5", "line 2", "line 7"], BEGIN + timedelta(milliseconds=7))


async def test_what_a_full_disk_refuses_is_counted_and_the_replica_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = uuid4()

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        log = book.of(order(own))
        await log.write(lines(0, 1))
        with monkeypatch.context() as patch:
            patch.setattr("storage.logs.book.os.write", full)
            await log.write(lines(1, 4))
            await log.write(lines(4, 6))
        await log.write(lines(6, 7))
        kept = await texts(reader, own)
    assert kept == ["line 0", "WARNING: the platform could not keep about 5 lines", "line 6"]


async def test_another_process_reads_what_one_process_writes(tmp_path: Path) -> None:
    own = uuid4()
    writer = start_writer(tmp_path, own, 5_000)
    try:
        async with open_reader(tmp_path) as reader:
            await eventually(lambda: asyncio.to_thread(writer.poll), lambda code: code is not None)
            assert await texts(reader, own) == [f"line {number}" for number in range(5_000)]
    finally:
        writer.kill()
        writer.wait()


async def test_a_writer_that_is_killed_leaves_whole_lines_and_its_successor_goes_on(tmp_path: Path) -> None:
    own = uuid4()
    writer = start_writer(tmp_path, own, 10_000_000)
    try:
        async with open_book(tmp_path, ROOMY) as book, open_reader(tmp_path) as reader:
            await eventually(lambda: asyncio.to_thread(paths_of, tmp_path, own), lambda seen: len(seen) > 2)
            writer.send_signal(signal.SIGKILL)
            await asyncio.to_thread(writer.wait)
            kept = await texts(reader, own)
            assert kept == [f"line {number}" for number in range(len(kept))]
            await book.of(order(own)).write(lines(len(kept), len(kept) + 1))
            assert await texts(reader, own, limit=2) == [f"line {len(kept) - 1}", f"line {len(kept)}"]
    finally:
        writer.kill()
        writer.wait()


async def test_two_writers_of_one_replica_lose_nothing(tmp_path: Path) -> None:
    own = uuid4()
    async with (
        open_book(tmp_path, ROOMY) as book,
        open_book(tmp_path, ROOMY) as other,
        open_reader(tmp_path) as reader,
    ):
        await asyncio.gather(
            write_in_batches(book.of(order(own)), 6_000, 40),
            write_in_batches(other.of(order(own)), 6_000, 40),
        )
        kept = await texts(reader, own)
    assert sorted(kept) == sorted([f"line {number}" for number in range(6_000)] * 2)
