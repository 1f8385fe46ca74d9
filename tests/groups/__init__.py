"""Groups: the room, and the MCP endpoint that merges what its members offer."""
