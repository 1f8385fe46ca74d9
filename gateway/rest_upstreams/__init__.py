"""Plain HTTP APIs as servers: a call of a tool becomes a request, and its answer the tool's result."""
