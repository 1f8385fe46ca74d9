"""The gateway of tests/gateway, and a server that asks its clients."""

from tests.gateway.conftest import platform, runner

__all__ = ["platform", "runner"]
