"""Keeps the collector's pauses short, so that tests which ask for promptness measure the platform alone.

A session of thousands of tests holds a million objects. A full collection that looks at all of them stops
the process for seconds, in whichever test is running.
"""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take out of the collector's sight what was imported and collected."""
    _set_aside()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Do so with what a module's tests have left, once their garbage is gone."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        _set_aside()


def _set_aside() -> None:
    gc.collect()
    gc.freeze()
