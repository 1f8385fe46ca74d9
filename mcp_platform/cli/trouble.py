"""What can go wrong at a start, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from mcp_platform.cli.failure import Failure
from mcp_platform.connection import connect_temporal
from mcp_platform.errors import Unavailable
from mcp_platform.security.keys import UnusableKey
from mcp_platform.settings import Settings

logger = structlog.get_logger(__name__)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn what the stores' and Temporal's libraries raise into one line for whoever starts the part.

    Raises:
        Failure: One of them did.
    """
    try:
        yield
    except Exception as error:
        words = _in_words(_only(error))
        if words is None:
            raise
        raise _failure(words, error) from None


async def connect(address: str, settings: Settings, *, runtime: Runtime | None = None) -> Client:
    """Connect to Temporal now.

    Raises:
        Failure: It cannot be reached.
    """
    try:
        return await connect_temporal(address, settings.temporal, runtime=runtime)
    except RuntimeError as error:
        raise _failure(
            f"Temporal cannot be reached at {address} ({_reason(error)});"
            " start it, or correct MCP_PLATFORM_TEMPORAL__ADDRESS",
            error,
        ) from None


def _in_words(error: BaseException) -> str | None:
    """Say what is wrong; None where a traceback says it better, or the message is good as it is."""
    match error:
        case Unavailable():
            return f"{error}: {_reason(error.__cause__ or error)}"
        case DBAPIError():
            return f"the database refuses ({_reason(error)}); if its schema is old run: mcp-platform migrate"
        case SQLAlchemyError():
            return f"MCP_PLATFORM_SQL__URL cannot be used: {_reason(error)}"
        case RPCError():
            return f"Temporal refuses: {_reason(error)}"
        case UnusableKey():
            return None
        # Temporal's SDK reports what ends a worker as a RuntimeError, and redis-py a wrong address as
        # a ValueError.
        case PyMongoError() | RedisError() | OSError() | RuntimeError() | ValueError():
            return _reason(error)
    return None


def _only(error: BaseException) -> BaseException:
    """Take a single error out of the groups around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _reason(error: BaseException) -> str:
    """Give the first line of what the innermost library said."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0][:300]


def _failure(message: str, error: BaseException) -> Failure:
    logger.debug("start_failed", exc_info=error)
    return Failure(message)
