"""A gateway as in its own tests, and beside it the whole platform."""

from tests.gateway.conftest import platform as gateway

__all__ = ["gateway"]
