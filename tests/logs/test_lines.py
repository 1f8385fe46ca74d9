"""Which level a line has."""

import pytest

from mcp_platform.contracts.logs import Level
from storage.logs.lines import level_of, read_line

SAID = [
    ("ERROR: it broke", Level.ERROR),
    ("2026-01-15 10:30:00,123 - server - WARNING - slow", Level.WARNING),
    ("[10:30:00] WARN slow", Level.WARNING),
    ("INFO:     127.0.0.1 - GET /errors", Level.INFO),
    ("[debug] asked for it", Level.DEBUG),
    ("\x1b[31merror\x1b[0m: red", Level.ERROR),
    ("time=10:30 level=warn msg=slow", Level.WARNING),
    ("npm ERR! missing script", Level.ERROR),
    ("FATAL out of memory", Level.ERROR),
    ("Traceback (most recent call last):", Level.ERROR),
    ('{"level": "error", "msg": "info"}', Level.ERROR),
    ('{"time":1,"severity":"WARNING","message":"x"}', Level.WARNING),
    ('{"level":20,"msg":"pino"}', Level.DEBUG),
    ('{"level":60,"msg":"pino"}', Level.ERROR),
    ('{"msg":"no level: ERROR in the text"}', Level.ERROR),
    ("there were no errors and no information", Level.INFO),
    ("a warning without a place of its own", Level.INFO),
    ("", Level.INFO),
]


@pytest.mark.parametrize(("text", "level"), SAID, ids=[text[:20] for text, _ in SAID])
def test_the_level_of_a_line_is_found(text: str, level: Level) -> None:
    assert level_of(text) is level


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"2026-01-15T10:30:00.0",
        b"2026-01-15T10:30:00.000000Z stderr",
        b"2026-01-15T10:30:00.000000Z elsewhere info text",
        b"2026-01-15T10:30:00.000000Z stderr loud text",
    ],
)
def test_what_is_no_kept_line_is_not_read_as_one(raw: bytes) -> None:
    assert read_line(raw, 0, 1, 0) is None


def test_a_level_includes_the_graver_ones() -> None:
    assert Level.WARNING.and_graver == {Level.WARNING, Level.ERROR}
    assert Level.DEBUG.and_graver == set(Level)
