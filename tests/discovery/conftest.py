"""The gateway with small servers, as for groups."""

from tests.groups.conftest import groups, platform

__all__ = ["groups", "platform"]
