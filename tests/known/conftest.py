"""Fixtures for the catalogue of known servers."""

from collections.abc import AsyncIterator

import pytest

from tests.known.registry import Registry, running_registry


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """Give a registry without servers."""
    async with running_registry() as running:
        yield running
