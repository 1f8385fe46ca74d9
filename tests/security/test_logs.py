"""Log lines: JSON, with their context, and never a secret."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from mcp_platform.logs import configure_logs
from mcp_platform.request_id import REQUEST_ID
from mcp_platform.settings import LogSettings


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    """Configure the logs for one test, and put back what was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(LogSettings())
    yield
    configure_logs(LogSettings())
    root.handlers, root.level = handlers, level


def written(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Give the one line that was written."""
    (line,) = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("password", "admin_password", "token", "access_token", "client_secret", "Authorization"),
        *("api_key", "X-API-Key", "master_key"),
    ],
)
def test_a_field_that_is_named_like_a_secret_is_masked(capsys: pytest.CaptureFixture[str], name: str) -> None:
    structlog.get_logger("test").warning("signed_in", **{name: "s3cret", "user": "somebody"})
    line = written(capsys)
    assert line[name] == "***"
    assert line["user"] == "somebody"


def test_secrets_inside_of_fields_are_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"Authorization": "Bearer s3cret", "Accept": "*/*", "more": {"x-api-key": "s3cret"}}
    structlog.get_logger("test").warning("called", headers=headers)
    line = written(capsys)
    assert line["headers"] == {"Authorization": "***", "Accept": "*/*", "more": {"x-api-key": "***"}}
    assert headers["Authorization"] == "Bearer s3cret"


def test_lines_of_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("some.library").warning("it is %s", "late", extra={"token": "s3cret"})
    line = written(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("it is late", "some.library", "warning")
    assert line["token"] == "***"


def test_ids_of_the_context_stand_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    bound = REQUEST_ID.set("r-1")
    structlog.get_logger("test").info("within")
    logging.getLogger("some.library").info("within too")
    REQUEST_ID.reset(bound)
    structlog.get_logger("test").info("outside")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line.get("request_id") for line in lines] == ["r-1", "r-1", None]


def test_an_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("test").exception("failed")
    line = written(capsys)
    assert line["exception"].endswith("ValueError: broken")


def test_servers_lines_that_spell_out_addresses_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("uvicorn.access", "uvicorn.error", "httpx"):
        logging.getLogger(name).info("WebSocket /ws?token=s3cret [accepted]")
    assert capsys.readouterr().err == ""


def test_what_drivers_make_of_everyday_events_is_left_out_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pool, mysql = (
        logging.getLogger("sqlalchemy.pool.impl.AsyncAdaptedQueuePool"),
        logging.getLogger("asyncmy"),
    )
    for error in (asyncio.CancelledError(), OSError("the server went away")):
        try:
            raise error
        except BaseException:
            pool.error("Exception during reset or similar", exc_info=True)
    assert written(capsys)["exception"].endswith("OSError: the server went away")
    mysql.warning("Name 'pk_users' ignored for PRIMARY key.")
    mysql.warning("Data truncated for column 'name' at row 1")
    assert written(capsys)["event"].startswith("Data truncated")


def test_the_level_and_the_plain_format_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(level="error", format="console"))
    log = structlog.get_logger("test")
    log.warning("quiet")
    log.error("loud", password="s3cret")
    (line,) = capsys.readouterr().err.splitlines()
    assert "loud" in line
    assert "s3cret" not in line
