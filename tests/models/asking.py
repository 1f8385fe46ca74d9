"""Asking models in a workflow, with a worker of its own and a prompt that only the tests know."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, Field
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.clients.models.chain import ModelChain
from activities.clients.models.masking import AccountMasks
from activities.models import ModelActivities
from activities.prompts.reading import Prompt
from mcp_platform.contracts.models import ModelCall, ModelInput, ModelOrder, ModelOutcome
from mcp_platform.model_settings import ModelSettings
from mcp_platform.names import Collection, TaskQueue
from mcp_platform.security.sealing import Sealer
from storage.secrets import KnownSecrets
from storage.sql.tables import ModelCallRow
from storage.stores import Stores
from tests.models.ask_workflow import AskWorkflow

WEATHER = Prompt("weather", 1, "Judge what the weather will be. Say how sure you are.")


class Forecast(BaseModel):
    """What the weather will be."""

    sky: str = Field(pattern="^(clear|cloudy)$")
    sure: float = Field(ge=0, le=1)


CLEAR: dict[str, Any] = {"sky": "clear", "sure": 0.9}


class Rig:
    """Stores, and questions about the weather."""

    def __init__(self, temporal: Client, stores: Stores, sealer: Sealer) -> None:
        self.temporal = temporal
        self.stores = stores
        self.sealer = sealer
        self.secrets = KnownSecrets(stores.database, sealer)

    @asynccontextmanager
    async def worker(self, settings: ModelSettings) -> AsyncIterator[None]:
        """Run a worker for these models."""
        chain = ModelChain(settings, self.secrets)
        own = [each.api_key.get_secret_value() for each in settings.chain if each.api_key]
        room = ModelActivities(self.stores, chain, AccountMasks(self.secrets, (), own), settings)
        try:
            async with (
                Worker(
                    self.temporal,
                    task_queue=TaskQueue.MODELS,
                    activities=[room.ask],
                    max_concurrent_activities=settings.concurrency,
                    max_heartbeat_throttle_interval=timedelta(seconds=1),
                ),
                Worker(self.temporal, task_queue=TaskQueue.ORCHESTRATION, workflows=[AskWorkflow]),
            ):
                yield
        finally:
            await chain.close()

    async def start(
        self, sections: Mapping[str, Any] | None = None, owner_id: UUID | None = None
    ) -> WorkflowHandle[AskWorkflow, ModelOutcome]:
        """Ask, and do not wait."""
        task_id = str(uuid4())
        told = ModelInput(sections=dict(sections or {"place": "Oslo"}))
        key = f"{task_id}/1"
        await self.stores.documents.put(Collection.MODEL_INPUTS, key, told.model_dump(mode="json"))
        order = ModelOrder(task_id=task_id, owner_id=owner_id or uuid4(), prompt=WEATHER.name, input_key=key)
        return await self.temporal.start_workflow(
            AskWorkflow.run, order, id=task_id, task_queue=TaskQueue.ORCHESTRATION
        )

    async def ask(
        self, sections: Mapping[str, Any] | None = None, owner_id: UUID | None = None
    ) -> ModelOutcome:
        """Ask, and give the outcome."""
        return await (await self.start(sections, owner_id)).result()

    async def calls(self) -> list[ModelCall]:
        """Read all calls that were recorded, in their order."""
        async with self.stores.database.read() as session:
            query = ModelCallRow.__table__.select().order_by(ModelCallRow.started_at, ModelCallRow.number)
            rows = (await session.execute(query)).mappings()
            return [ModelCall.model_validate(dict(row)) for row in rows]

    async def outcomes(self) -> list[str]:
        """Tell what came of all calls."""
        return [call.outcome.value for call in await self.calls()]
