"""A gateway with a server behind it, for the client libraries."""

from tests.bridge.conftest import caller, platform, server

__all__ = ["caller", "platform", "server"]
