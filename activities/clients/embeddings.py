"""Embedding models: the one that ships in a package, and those of providers.

What is slow to import is loaded when a model is first used.
"""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from pkgutil import resolve_name
from typing import Any

import httpx
import numpy as np
import structlog

from activities.clients.in_use import InUse
from mcp_platform.errors import Unavailable
from mcp_platform.settings import KnowledgeSettings
from storage.knowledge.built_in import BUILT_IN as BUILT_IN
from storage.knowledge.built_in import BuiltInModel as BuiltInModel
from storage.knowledge.models import EmbeddingModel, Vectors, normalised

logger = structlog.get_logger(__name__)


def open_model(name: str, settings: KnowledgeSettings) -> EmbeddingModel:
    """Give the model of this name; nothing is loaded yet."""
    if name == BUILT_IN:
        return BuiltInModel()
    return ProviderModel(name, settings)


class ProviderModel:
    """Any of LangChain's embeddings, by `provider:model`."""

    def __init__(self, name: str, settings: KnowledgeSettings) -> None:
        self.name = name
        self._settings = settings
        self._client: Any = None
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._connections = InUse(self._disconnect)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Give a row for each text."""
        async with self._connections.used():
            client = await self._connected()
            rows = await self._asked(client.aembed_documents(list(texts)), self._settings.embedding_timeout)
        return normalised(_rows(rows, len(texts)))

    async def embed_query(self, text: str) -> Vectors:
        """Give the vector of a query."""
        async with self._connections.used():
            client = await self._connected()
            row = await self._asked(client.aembed_query(text), self._settings.query_timeout)
        found: Vectors = normalised(_rows([row], 1))[0]
        return found

    async def close(self) -> None:
        """Close its connections, once what is being asked is answered."""
        await self._connections.give_up()

    async def _disconnect(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _connected(self) -> Any:
        # One at a time: of two clients that were opened at once, only the last would ever be closed.
        async with self._opening:
            if self._client is None:
                try:
                    # Both at once: one that was called off may still be at it in its thread.
                    self._client, self._http = await asyncio.to_thread(self._open)
                except Exception as error:  # every provider has errors of its own
                    raise self._away(error) from error
        return self._client

    def _open(self) -> tuple[Any, httpx.AsyncClient | None]:
        os.environ.setdefault("LANGSMITH_TRACING", "false")
        own = self._settings
        options: dict[str, Any] = {}
        http = None
        if own.embedding_base_url:
            options["base_url"] = own.embedding_base_url
        if own.embedding_api_key:
            options["api_key"] = own.embedding_api_key
        if self.name.startswith("openai:"):
            # A client of our own can be closed. Texts are sent as they are, or tokenizer data would be
            # fetched; and who repeats is the activity.
            http = httpx.AsyncClient(timeout=own.embedding_timeout)
            options |= {"check_embedding_ctx_length": False, "max_retries": 0}
            options["http_async_client"] = http
        return resolve_name("langchain.embeddings:init_embeddings")(self.name, **options), http

    async def _asked(self, question: Awaitable[Any], timeout: float) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await question
        except Exception as error:  # every provider has errors of its own
            raise self._away(error) from error

    def _away(self, error: Exception) -> Unavailable:
        logger.warning("embedding_model_away", model=self.name, error=type(error).__name__)
        # A provider's own words may quote the key or the texts.
        return Unavailable(
            f"The embedding model {self.name} cannot be used now ({type(error).__name__})", part="embeddings"
        )


def _rows(found: Any, count: int) -> Vectors:
    rows = np.asarray(found, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[0] != count:
        raise Unavailable("The embedding model gave something else than a vector a text", part="embeddings")
    return rows
