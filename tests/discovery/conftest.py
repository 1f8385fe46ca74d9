"""The gateway with small servers, as for groups."""

import pytest

from tests.groups.conftest import groups, platform

__all__ = ["groups", "platform"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first search wait for all servers, though this machine stands still meanwhile."""
    monkeypatch.setattr("gateway.discovery.discovery._PATIENCE", 20.0)
