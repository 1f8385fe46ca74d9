"""`running.json` in the data directory: how the other commands find what `up` runs."""

import json
from pathlib import Path

import psutil

from mcp_platform.contracts.base import Contract


class RunRecord(Contract):
    """Where the platform of a data directory answers."""

    pid: int
    started: float
    """When the process was created, as the operating system tells: a number is used again, a pair is not."""
    api: str
    temporal_ui: str


def write_record(data_dir: Path, record: RunRecord) -> None:
    """Say that the platform runs."""
    (data_dir / "running.json").write_text(record.model_dump_json())


def remove_record(data_dir: Path) -> None:
    """Say that it runs no more."""
    (data_dir / "running.json").unlink(missing_ok=True)


def read_record(data_dir: Path) -> RunRecord | None:
    """Read where the platform answers; None if none runs, whatever a crashed one left behind."""
    try:
        record = RunRecord.model_validate(json.loads((data_dir / "running.json").read_text()))
        alive = psutil.Process(record.pid).create_time() == record.started
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return record if alive else None
