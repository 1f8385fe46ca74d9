"""`/api/v1/mcps`: registering, changing, exchanging and removing MCPs."""

from api.v1.mcps import authorizations, deletion, entries, exchange, from_task, history, openapi, suggestions

ROUTERS = (
    entries.router,
    authorizations.router,
    history.router,
    exchange.router,
    openapi.router,
    from_task.router,
    suggestions.router,
    deletion.router,
)
"""The one that is asked most comes first."""
