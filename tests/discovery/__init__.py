"""Finding tools, and the smart endpoint."""
