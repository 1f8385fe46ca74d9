"""Steps that a revision takes, each of which may be taken twice."""

from typing import Any

from alembic import op
from sqlalchemy import CHAR, Column, DateTime, LargeBinary, String, Text, inspect
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import SchemaItem

LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
LONG_BINARY = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
WORD = String(32)


def identifier(name: str, *, nullable: bool = False) -> Column[str]:
    """Make the column of a UUID."""
    return Column(name, CHAR(32), nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> Column[object]:
    """Make the column of a point in time."""
    return Column(name, MOMENT, nullable=nullable)


def string(name: str, length: int = 255, *, nullable: bool = False) -> Column[str]:
    """Make the column of bounded text."""
    return Column(name, String(length), nullable=nullable)


def create_table(name: str, *parts: SchemaItem, indexes: dict[str, list[str]] | None = None) -> None:
    """Create a table and its indexes, by name and columns, as far as they are not there."""
    op.create_table(
        name,
        *parts,
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    for index, columns in (indexes or {}).items():
        add_index(name, index, columns)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column, unless it is there; it must be nullable or have a server default."""
    if column.name not in _columns(table):
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Drop a column, if it is there."""
    if name in _columns(table):
        op.drop_column(table, name)


def add_index(table: str, name: str, columns: list[str]) -> None:
    """Create an index, unless it is there."""
    if name not in _indexes(table):
        op.create_index(name, table, columns)


def drop_index(table: str, name: str) -> None:
    """Drop an index, if it is there."""
    if name in _indexes(table):
        op.drop_index(name, table)


def _indexes(table: str) -> set[str | None]:
    return {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}


def _columns(table: str) -> set[str]:
    return {column["name"] for column in inspect(op.get_bind()).get_columns(table)}


def drop_table(name: str) -> None:
    """Drop a table with its indexes, if it is there."""
    op.drop_table(name, if_exists=True)
