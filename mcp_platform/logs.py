"""JSON log lines on standard error, with request, task and workflow ids where they are known."""

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from mcp_platform.request_id import add_request_id
from mcp_platform.settings import LogSettings

_QUIETENED = ("uvicorn.access", "uvicorn.error", "httpx", "httpx2", "aiohttp.access", "alembic", "mcp")
"""These say at INFO what our own lines say already, or spell out addresses with tokens in them."""
_SECRET_WORDS = ("password", "token", "secret", "authorization", "api_key", "master_key")


def _mask(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Never let a field that is named like a secret reach a log, whoever put it there."""
    for name, value in line.items():
        line[name] = _masked(name, value)
    return line


def _masked(name: object, value: object) -> object:
    spelt = str(name).lower().replace("-", "_")
    if any(word in spelt for word in _SECRET_WORDS):
        return "***"
    if isinstance(value, dict):
        return {inner: _masked(inner, item) for inner, item in value.items()}
    return value


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Leave out what drivers make of everyday events.

    Where a client leaves in the middle of a statement, its connection is thrown away, and MySQL tells at
    each table that it names primary keys by itself.
    """
    if record.name.startswith("sqlalchemy.pool"):
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
    return record.name != "asyncmy" or "ignored for PRIMARY key" not in record.getMessage()


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is at the moment of writing."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def _renderer(form: str) -> structlog.typing.Processor:
    if form == "json":
        return structlog.processors.JSONRenderer()
    # Plain: the default shows the values of variables, and takes seconds to.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def configure_logs(settings: LogSettings) -> None:
    """Send structlog's and the standard library's lines through one chain, to standard error."""
    shared: list[structlog.typing.Processor] = [
        add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    renderer = _renderer(settings.format)
    structlog.configure(
        processors=[
            # First: a line that nobody reads costs nothing more.
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_worth_a_line)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in _QUIETENED:
        logging.getLogger(name).setLevel(logging.WARNING)
