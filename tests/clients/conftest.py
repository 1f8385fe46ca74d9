"""A gateway with a server behind it, for the client libraries."""

from tests.bridge.conftest import caller, platform, server, template

__all__ = ["caller", "platform", "server", "template"]
