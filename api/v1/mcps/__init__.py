"""`/api/v1/mcps`: registering, changing, exchanging and removing MCPs."""

from api.v1.mcps import deletion, entries, exchange, history

ROUTERS = (entries.router, history.router, exchange.router, deletion.router)
"""The one that is asked most comes first."""
