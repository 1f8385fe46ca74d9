"""A model that is opened while somebody who opened it was called off closes the connections that it uses."""

import asyncio
import threading
from typing import Any

import httpx
import numpy as np
import pytest

from activities.clients.embeddings import ProviderModel, open_model
from tests.knowledge.provider import running_provider
from tests.knowledge.test_models import PROVIDED, settings_for
from tests.waiting import PATIENCE, eventually


async def test_who_was_called_off_takes_no_connections_from_who_opened_after_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    opened: list[httpx.AsyncClient] = []
    ended: list[object] = []
    opening = ProviderModel._open

    def noting(self: ProviderModel) -> Any:
        try:
            return opening(self)
        finally:
            ended.append(self)

    class Slow(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            if not begun.is_set():
                begun.set()
                assert go_on.wait(PATIENCE)
            super().__init__(**options)
            opened.append(self)

    async with running_provider() as provider:
        model = open_model(PROVIDED, settings_for(provider))
        monkeypatch.setattr(httpx, "AsyncClient", Slow)
        monkeypatch.setattr(ProviderModel, "_open", noting)
        first = asyncio.create_task(model.embed_query("one two"))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        first.cancel()
        await asyncio.wait({first})
        assert np.isclose(np.linalg.norm(await model.embed_query("one two")), 1, atol=1e-4)
        (used,) = opened
        go_on.set()
        await eventually(lambda: asyncio.sleep(0, ended), lambda seen: len(seen) == 2)
        await model.close()
        assert used.is_closed
