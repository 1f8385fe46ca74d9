"""The base of everything that crosses a boundary: HTTP, Temporal or a store."""

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Contract(BaseModel):
    """Frozen; ignores fields it does not know, so that old readers understand newer writers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Order(BaseModel):
    """A request's body. Unlike a contract it refuses unknown fields, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _says(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; it must have a text")
    return text


Said = Annotated[str, AfterValidator(_says), Field(json_schema_extra={"pattern": r"\S"})]
"""A text that has more in it than spaces."""

DEEPEST = 100
"""How deep free-form JSON may be nested: libraries on its way give up at some hundreds."""


def plain_json(value: Any) -> Any:
    """Give free-form JSON back, if every part of the platform can keep and write it.

    Raises:
        ValueError: It is nested too deeply, has half a character in a text, or NaN or an infinite number.
    """
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"is nested too deeply: more than {DEEPEST} levels")
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        elif isinstance(item, str) and not item.isascii() and _HALF_CHARACTER.search(item):
            raise ValueError("has half a character (a lone surrogate) in a text")
        elif isinstance(item, float) and not isfinite(item):
            raise ValueError("has a number that is not finite, which JSON cannot hold")
    return value


def _aware(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None


def _as_text(value: object) -> object:
    """Refuse numbers, which pydantic takes for seconds since 1970: nobody means that in JSON or a query."""
    if isinstance(value, int | float) or (isinstance(value, str) and not _DATE.match(value)):
        raise ValueError("is a point in time, such as 2026-01-15T10:30:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_as_text), AfterValidator(_aware)]
"""A point in time, always aware and in UTC."""
