"""The front door and the shared floor of the MCP Platform."""

__version__ = "0.1.0"
