"""A platform that runs as its users run it, for the tests that do no harm to it."""

from collections.abc import AsyncIterator

import pytest

from tests.end_to_end.programs import Platform


@pytest.fixture(scope="package")
async def running_up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give an embedded platform that runs."""
    platform = Platform(tmp_path_factory.mktemp("up") / "data")
    await platform.begin()
    try:
        await platform.running.line()
        yield platform
    finally:
        await platform.close()
