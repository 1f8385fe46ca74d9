"""What governs each MCP at the gateway: who may call what, and what calls and their results must be."""
