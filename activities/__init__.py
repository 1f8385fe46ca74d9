"""All I/O that workflows ask for, one module a room; dependencies are injected by the worker."""
