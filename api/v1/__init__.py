"""The Platform API, `/api/v1`."""
