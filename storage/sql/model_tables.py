"""The table of what language models were asked, and what it cost."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mcp_platform.contracts.models import CallOutcome
from storage.sql.base import MYSQL_OPTIONS, Base
from storage.sql.types import word


class ModelCallRow(Base):
    """One call of a model; while it is in flight, what it may come to at most is set aside."""

    __tablename__ = "model_usage"
    __table_args__ = (Index(None, "user_id", "day"), Index(None, "day"), MYSQL_OPTIONS)

    question_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    user_id: Mapped[UUID]
    day: Mapped[str] = mapped_column(String(10))
    task_id: Mapped[str] = mapped_column(String(255))
    prompt: Mapped[str] = mapped_column(String(128))
    model: Mapped[str] = mapped_column(String(128))
    place: Mapped[int]
    outcome: Mapped[CallOutcome] = mapped_column(word(CallOutcome))
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    estimated: Mapped[bool]
    cost_nanos: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime]
