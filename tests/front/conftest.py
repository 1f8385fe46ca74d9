"""The gateway of tests/gateway, and a server that asks its clients."""

from tests.gateway.conftest import platform, runner
from tests.groups.conftest import groups

__all__ = ["groups", "platform", "runner"]
