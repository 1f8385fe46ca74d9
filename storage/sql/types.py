"""Column types that mean the same on SQLite and MySQL."""

import json
from datetime import UTC, datetime
from enum import Enum as PythonEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, Enum, LargeBinary, Text, Uuid
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

ID = Uuid(native_uuid=False)
"""CHAR(32) everywhere: MariaDB's own type does not exist in MySQL."""

LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

LONG_BINARY = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

_CLIPPED_LENGTH = 10_000


class UtcMoment(TypeDecorator[datetime]):
    """A moment, stored in UTC with microseconds; both engines forget the zone, so it is put back here."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask for microseconds, which MySQL leaves out by default."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without a zone: nobody can say which one was meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored moment needs a time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Make it aware again."""
        return None if value is None else value.replace(tzinfo=UTC)


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text.

    MySQL's JSON type sorts the keys of objects; text keeps what was given, and pure ASCII lets no
    character set or lone surrogate come between.
    """

    impl = LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write text."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read text."""
        return None if value is None else json.loads(value)


class ClippedText(TypeDecorator[str]):
    """Text from foreign programs: whatever they wrote, its beginning can be stored."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Keep the beginning, and replace what is no Unicode text."""
        if value is None:
            return None
        return value[:_CLIPPED_LENGTH].encode("utf-8", "replace").decode("utf-8")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return it as stored."""
        return value


def word(kind: type[PythonEnum]) -> Enum:
    """Make a column type of an enumeration, stored as its value; a new member needs no migration."""
    return Enum(
        kind, native_enum=False, length=32, values_callable=lambda members: [m.value for m in members]
    )
