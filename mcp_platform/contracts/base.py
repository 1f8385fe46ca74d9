"""The base of everything that crosses a boundary: HTTP, Temporal or a store."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Contract(BaseModel):
    """Frozen; ignores fields it does not know, so that old readers understand newer writers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Order(BaseModel):
    """A request's body. Unlike a contract it refuses unknown fields, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _aware(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None


Moment = Annotated[datetime, AfterValidator(_aware)]
"""A point in time, always aware and in UTC."""
